//! Changes of headers, as Envoy's `*_headers_to_add` and `*_headers_to_remove` say.
//!
//! Values are taken apart here, once: what stands between percent signs is filled in for each request (see
//! [`crate::steps::edit`]). A placeholder that nobody fills in is refused by name.

use http::header::{self, HeaderName, HeaderValue};
use mesh_xds::envoy::core as pb;
use mesh_xds::envoy::core::header_value_option::HeaderAppendAction;

use super::field::{At, Refusal, sort_fields};

/// Changes of a message's headers: removals first, then what is set, then what is added, as Envoy does it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Headers that go.
    pub remove: Vec<HeaderName>,
    /// Headers that come.
    pub values: Vec<Edit>,
}

impl Edits {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.values.is_empty()
    }

    /// Whether a value has something of the request in it.
    #[must_use]
    pub fn read_request(&self) -> bool {
        self.values.iter().any(|edit| edit.value.reads_request())
    }
}

/// A header that comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Its name.
    pub name: HeaderName,
    /// What it says.
    pub value: Template,
    /// What becomes of those that are there.
    pub mode: Mode,
    /// It comes even if its value is empty.
    pub keep_empty: bool,
}

/// What becomes of the lines of a header that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One more.
    Append,
    /// Only if there is none.
    AddIfAbsent,
    /// Instead of them.
    Overwrite,
    /// Instead of them, if there are any.
    OverwriteIfPresent,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Template {
    /// The same each time.
    Fixed(HeaderValue),
    /// Its parts, one after the other.
    Parts(Vec<Part>),
}

impl Template {
    fn reads_request(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Parts(parts) => parts
                .iter()
                .any(|part| matches!(part, Part::Fact(Fact::Request(..)))),
        }
    }
}

/// A part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it stands.
    Text(String),
    /// To be filled in; nothing where it is not known.
    Fact(Fact),
}

/// What can be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The client's address and port.
    RemoteAddress,
    /// The client's address.
    RemoteIp,
    /// The port that the client came to.
    LocalPort,
    /// The SPIFFE id of the client's verified certificate.
    PeerUriSan,
    /// The server name that the client asked for.
    ServerName,
    /// `HTTP/1.1` or `HTTP/2`.
    Protocol,
    /// When the request began, in UTC.
    StartTime,
    /// The response's status; 0 in a request.
    ResponseCode,
    /// The route's name.
    RouteName,
    /// The cluster's name.
    Cluster,
    /// The endpoint's address; not known in a request.
    UpstreamHost,
    /// A header of the request, or else the second one.
    Request(String, Option<String>),
}

/// Headers that belong to a connection or say where a message ends.
const FRAMING: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Reads the changes of one message's headers; the fields are called `add_field` and `remove_field`.
pub(super) fn compile(
    at: &At<'_>,
    (add_field, add): (&'static str, &[pb::HeaderValueOption]),
    (remove_field, remove): (&'static str, &[String]),
) -> Result<Edits, Refusal> {
    let remove = remove.iter().enumerate().map(|(i, text)| {
        let at = at.item(remove_field, i);
        name(&at, text)
    });
    let values = add
        .iter()
        .enumerate()
        .map(|(i, option)| edit(&at.item(add_field, i), option));
    Ok(Edits {
        remove: remove.collect::<Result<_, _>>()?,
        values: values.collect::<Result<_, _>>()?,
    })
}

fn edit(at: &At<'_>, message: &pb::HeaderValueOption) -> Result<Edit, Refusal> {
    use pb::{HeaderValue as Pair, HeaderValueOption};
    #[allow(deprecated, reason = "older control planes still send `append`")]
    let HeaderValueOption {
        header,
        append,
        append_action,
        keep_empty_value,
    } = message;
    // Only `false` has a meaning beside the newer field, whose default says what `true` says.
    let overwrites = append.as_ref().is_some_and(|append| !append.value);
    let at = at.field("header");
    let Some(pair) = header else {
        return Err(at.refuse("is missing"));
    };
    sort_fields!(at, pair => Pair {
        takes { key, value }
        ignores {}
        refuses { raw_value }
    });
    let mode = match HeaderAppendAction::try_from(*append_action) {
        Ok(HeaderAppendAction::AppendIfExistsOrAdd) if overwrites => Mode::Overwrite,
        Ok(HeaderAppendAction::AppendIfExistsOrAdd) => Mode::Append,
        Ok(HeaderAppendAction::AddIfAbsent) => Mode::AddIfAbsent,
        Ok(HeaderAppendAction::OverwriteIfExistsOrAdd) => Mode::Overwrite,
        Ok(HeaderAppendAction::OverwriteIfExists) => Mode::OverwriteIfPresent,
        Err(_) => return Err(at.refuse("its append_action is not known")),
    };
    Ok(Edit {
        name: name(&at.field("key"), key)?,
        value: template(&at.field("value"), value)?,
        mode,
        keep_empty: *keep_empty_value,
    })
}

fn name(at: &At<'_>, text: &str) -> Result<HeaderName, Refusal> {
    let name = HeaderName::try_from(text)
        .map_err(|_| at.refuse(format!("{text:?} is not a header that can be changed")))?;
    if FRAMING.contains(&name) {
        return Err(at.refuse(format!(
            "{text:?} belongs to the connection and cannot be changed"
        )));
    }
    Ok(name)
}

/// Takes a value apart.
fn template(at: &At<'_>, text: &str) -> Result<Template, Refusal> {
    let mut parts: Vec<Part> = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        literal.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let end = end(rest).ok_or_else(|| {
            at.refuse(
                "has a percent sign that begins a placeholder without end; write %% for itself",
            )
        })?;
        let placeholder = &rest[..end];
        let fact = fact(placeholder).ok_or_else(|| {
            at.refuse(format!(
                "has the placeholder %{placeholder}%, which this proxy does not support"
            ))
        })?;
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        }
        parts.push(Part::Fact(fact));
        rest = &rest[end + 1..];
    }
    literal.push_str(rest);
    if HeaderValue::from_str(&literal).is_err() {
        return Err(at.refuse("is not the value of a header"));
    }
    if parts.is_empty() {
        return HeaderValue::from_str(&literal)
            .map(Template::Fixed)
            .map_err(|_| at.refuse("is not the value of a header"));
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(Template::Parts(parts))
}

/// Where the percent sign is that ends a placeholder; one in parentheses does not.
fn end(text: &str) -> Option<usize> {
    let mut inside = false;
    text.bytes().position(|byte| {
        match byte {
            b'(' => inside = true,
            b')' => inside = false,
            _ => {}
        }
        byte == b'%' && !inside
    })
}

fn fact(placeholder: &str) -> Option<Fact> {
    if let Some(names) = placeholder.strip_prefix("REQ(") {
        let names = names.strip_suffix(')')?;
        let (first, second) = match names.split_once('?') {
            None => (names, None),
            Some((first, second)) => (first, Some(second)),
        };
        let known = |name: &str| {
            let name = name.to_ascii_lowercase();
            let bare = name.strip_prefix(':').unwrap_or(&name);
            HeaderName::try_from(bare).is_ok().then_some(name)
        };
        return Some(Fact::Request(
            known(first)?,
            match second {
                None => None,
                Some(second) => Some(known(second)?),
            },
        ));
    }
    Some(match placeholder {
        "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Fact::RemoteAddress,
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"
        | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => Fact::RemoteIp,
        "DOWNSTREAM_LOCAL_PORT" => Fact::LocalPort,
        "DOWNSTREAM_PEER_URI_SAN" => Fact::PeerUriSan,
        "PROTOCOL" => Fact::Protocol,
        "REQUESTED_SERVER_NAME" => Fact::ServerName,
        "RESPONSE_CODE" => Fact::ResponseCode,
        "ROUTE_NAME" => Fact::RouteName,
        "START_TIME" => Fact::StartTime,
        "UPSTREAM_CLUSTER" => Fact::Cluster,
        "UPSTREAM_HOST" => Fact::UpstreamHost,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(key: &str, value: &str, action: HeaderAppendAction) -> pb::HeaderValueOption {
        pb::HeaderValueOption {
            header: Some(pb::HeaderValue {
                key: key.into(),
                value: value.into(),
                ..Default::default()
            }),
            append_action: action as i32,
            ..Default::default()
        }
    }

    fn read(options: &[pb::HeaderValueOption], remove: &[&str]) -> Result<Edits, Refusal> {
        let remove: Vec<String> = remove.iter().map(|name| (*name).to_owned()).collect();
        compile(&At::ROOT, ("add", options), ("remove", &remove))
    }

    #[test]
    fn values_are_taken_apart() {
        let text = |text: &str| template(&At::ROOT, text).unwrap();
        assert_eq!(
            text("100%%"),
            Template::Fixed(HeaderValue::from_static("100%"))
        );
        assert_eq!(
            text("from %DOWNSTREAM_REMOTE_ADDRESS% by %REQ(X-A?:Path)%"),
            Template::Parts(vec![
                Part::Text("from ".into()),
                Part::Fact(Fact::RemoteAddress),
                Part::Text(" by ".into()),
                Part::Fact(Fact::Request("x-a".into(), Some(":path".into()))),
            ])
        );
        assert!(text("%REQ(a)%").reads_request() && !text("%PROTOCOL%").reads_request());
    }

    #[test]
    fn the_four_modes_and_the_older_form() {
        use HeaderAppendAction as Action;
        let modes = |option| read(&[option], &[]).unwrap().values[0].mode;
        assert_eq!(
            modes(option("a", "b", Action::AppendIfExistsOrAdd)),
            Mode::Append
        );
        assert_eq!(
            modes(option("a", "b", Action::AddIfAbsent)),
            Mode::AddIfAbsent
        );
        assert_eq!(
            modes(option("a", "b", Action::OverwriteIfExistsOrAdd)),
            Mode::Overwrite
        );
        assert_eq!(
            modes(option("a", "b", Action::OverwriteIfExists)),
            Mode::OverwriteIfPresent
        );
        let mut older = option("a", "b", Action::AppendIfExistsOrAdd);
        #[allow(deprecated, reason = "the older form is under test")]
        {
            older.append = Some(mesh_xds::envoy::protobuf::BoolValue { value: false });
        }
        assert_eq!(modes(older), Mode::Overwrite);
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        use HeaderAppendAction::OverwriteIfExistsOrAdd as Set;
        for (key, value, field) in [
            (":path", "/", "add[0].header.key"),
            ("Host", "a", "add[0].header.key"),
            ("content-length", "1", "add[0].header.key"),
            ("a", "%UPSTREAM_METADATA(x)%", "add[0].header.value"),
            ("a", "50%", "add[0].header.value"),
            ("a", "line\nbreak", "add[0].header.value"),
        ] {
            assert_eq!(
                read(&[option(key, value, Set)], &[]).unwrap_err().field,
                field
            );
        }
        assert_eq!(
            read(&[], &["a", "transfer-encoding"]).unwrap_err().field,
            "remove[1]"
        );
        let missing = pb::HeaderValueOption::default();
        assert_eq!(read(&[missing], &[]).unwrap_err().field, "add[0].header");
    }
}
