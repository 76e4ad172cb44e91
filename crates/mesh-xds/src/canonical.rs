//! Makes the encoding of a resource depend on its content alone.
//!
//! Protobuf maps have no order, and the generated types keep them in hash maps with a random seed: one message
//! encodes differently in each process, and even twice in the same one. Versions are hashes of the encoded
//! bytes, so a resource that did not change would be pushed again. Here the entries of map fields are put in
//! order after encoding. The table in [`Shape::field`] names the map fields that the mesh fills with more than
//! one entry, and the way to them; everything else is copied as it is.

use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

use crate::ResourceType;

/// The message types on the way from a resource to its maps.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Cluster,
    TransportSocketMatch,
    ClusterLoadAssignment,
    LocalityLbEndpoints,
    LbEndpoint,
    Listener,
    RouteConfiguration,
    VirtualHost,
    Route,
    Metadata,
    Struct,
    Value,
    ListValue,
    /// Nothing in it needs an order.
    Leaf,
}

/// What a field is.
enum Field {
    Plain,
    Message(Shape),
    /// A map with values of that shape.
    Map(Shape),
}

impl Shape {
    /// Field numbers are those of Envoy's and Google's proto files.
    fn field(self, tag: u32) -> Field {
        match (self, tag) {
            (Self::Cluster, 25)
            | (Self::LocalityLbEndpoints, 9)
            | (Self::LbEndpoint, 3)
            | (Self::Listener, 6)
            | (Self::RouteConfiguration, 17)
            | (Self::VirtualHost, 24)
            | (Self::Route, 4) => Field::Message(Self::Metadata),
            (Self::Cluster, 36) | (Self::VirtualHost, 15) | (Self::Route, 13) => {
                Field::Map(Self::Leaf)
            }
            (Self::Cluster, 43) => Field::Message(Self::TransportSocketMatch),
            (Self::TransportSocketMatch, 2) | (Self::Value, 5) => Field::Message(Self::Struct),
            (Self::ClusterLoadAssignment, 2) => Field::Message(Self::LocalityLbEndpoints),
            (Self::LocalityLbEndpoints, 2) => Field::Message(Self::LbEndpoint),
            (Self::RouteConfiguration, 2) => Field::Message(Self::VirtualHost),
            (Self::VirtualHost, 3) => Field::Message(Self::Route),
            (Self::Metadata, 1) => Field::Map(Self::Struct),
            (Self::Metadata, 2) => Field::Map(Self::Leaf),
            (Self::Struct, 1) => Field::Map(Self::Value),
            (Self::Value, 6) => Field::Message(Self::ListValue),
            (Self::ListValue, 1) => Field::Message(Self::Value),
            _ => Field::Plain,
        }
    }
}

/// The canonical form of an encoded resource.
pub(crate) fn encode(resource_type: ResourceType, message: &impl prost::Message) -> Vec<u8> {
    let shape = match resource_type {
        ResourceType::Cluster => Shape::Cluster,
        ResourceType::Endpoint => Shape::ClusterLoadAssignment,
        ResourceType::Listener => Shape::Listener,
        ResourceType::Route => Shape::RouteConfiguration,
        ResourceType::Secret => Shape::Leaf,
    };
    let encoded = message.encode_to_vec();
    let mut out = Vec::with_capacity(encoded.len());
    match canonical(shape, &encoded, &mut out) {
        Some(()) => out,
        // What prost has encoded is well-formed; were it not, the bytes as they are would still be right.
        None => encoded,
    }
}

/// Appends the canonical form of a message to `out`; `None` if it is malformed.
fn canonical(shape: Shape, mut message: &[u8], out: &mut Vec<u8>) -> Option<()> {
    // The entries of the map field that is being read. Encoders write a map's entries one after the other.
    let mut entries: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<u32> = None;
    while message.has_remaining() {
        let start = message;
        let (tag, wire_type) = decode_key(&mut message).ok()?;
        if open.is_some_and(|map| map != tag) {
            close(open.take()?, &mut entries, out);
        }
        let value = skip(wire_type, &mut message)?;
        match shape.field(tag) {
            Field::Message(inner) => nested(tag, inner, value, out)?,
            Field::Map(inner) => {
                open = Some(tag);
                entries.push(entry(inner, value)?);
            }
            Field::Plain => out.extend_from_slice(&start[..start.len() - message.len()]),
        }
    }
    if let Some(tag) = open {
        close(tag, &mut entries, out);
    }
    Some(())
}

/// Writes the collected entries of a map in order.
fn close(tag: u32, entries: &mut Vec<Vec<u8>>, out: &mut Vec<u8>) {
    entries.sort_unstable();
    for entry in entries.drain(..) {
        bytes_field(tag, &entry, out);
    }
}

/// A map entry is a message with the key at 1 and the value at 2.
fn entry(shape: Shape, mut entry: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(entry.len());
    while entry.has_remaining() {
        let start = entry;
        let (tag, wire_type) = decode_key(&mut entry).ok()?;
        let value = skip(wire_type, &mut entry)?;
        match tag {
            2 => nested(2, shape, value, &mut out)?,
            _ => out.extend_from_slice(&start[..start.len() - entry.len()]),
        }
    }
    Some(out)
}

fn nested(tag: u32, shape: Shape, value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut inner = Vec::with_capacity(value.len());
    canonical(shape, value, &mut inner)?;
    bytes_field(tag, &inner, out);
    Some(())
}

fn bytes_field(tag: u32, value: &[u8], out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// Moves past a value and returns its bytes, those of the content if it has a length.
fn skip<'a>(wire_type: WireType, message: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = match wire_type {
        WireType::Varint => {
            decode_varint(message).ok()?;
            0
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::LengthDelimited => usize::try_from(decode_varint(message).ok()?).ok()?,
        WireType::StartGroup | WireType::EndGroup => return None,
    };
    let (value, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(value)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::encode;
    use crate::envoy::core::Metadata;
    use crate::envoy::endpoint::{ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints};
    use crate::{ResourceType, Workload, metadata};

    fn assignment(order: impl Iterator<Item = usize>) -> ClusterLoadAssignment {
        let mut data = Metadata::default();
        for index in order {
            let workload = Workload {
                name: format!("w{index}"),
                namespace: "default".into(),
                app: "webapp".into(),
                version: "original".into(),
                ..Workload::default()
            };
            data.filter_metadata
                .insert(format!("key{index}"), workload.to_struct());
        }
        metadata::set_tls_mode(&mut data);
        ClusterLoadAssignment {
            cluster_name: "outbound|80||a".into(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: vec![LbEndpoint {
                    metadata: Some(data),
                    ..LbEndpoint::default()
                }],
                priority: 3,
                ..LocalityLbEndpoints::default()
            }],
            ..ClusterLoadAssignment::default()
        }
    }

    #[test]
    fn equal_content_has_equal_bytes_and_loses_nothing() {
        let first = encode(ResourceType::Endpoint, &assignment(0..20));
        for _ in 0..10 {
            let again = encode(ResourceType::Endpoint, &assignment((0..20).rev()));
            assert_eq!(first, again);
        }
        let back = ClusterLoadAssignment::decode(first.as_slice()).expect("well-formed");
        assert_eq!(back, assignment(0..20));
    }

    #[test]
    fn different_content_has_different_bytes() {
        let twenty = encode(ResourceType::Endpoint, &assignment(0..20));
        let nineteen = encode(ResourceType::Endpoint, &assignment(0..19));
        assert_ne!(twenty, nineteen);
    }
}
