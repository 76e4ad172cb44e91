//! The caller's workload in a session's handshake, as a protocol that is offered and never selected.
//!
//! A session's bytes have no place for a header, so the name goes ahead of them, as the ALPN protocol id
//! `mesh-workload/NAME`. A server that does not know it goes on without ALPN, as for a client that offers
//! nothing. Like the server name it is sent before anything is encrypted, and like the header
//! `x-mesh-workload` it proves nothing: [`crate::peer::Standing::session_source`] looks it up.

use rustls::server::ClientHello;

const PREFIX: &str = "mesh-workload/";
/// What a protocol id may have.
const MAX_BYTES: usize = 255;

/// What to offer for a session of this workload: nothing if it has no name, or one that is too long.
pub(crate) fn offer(workload: &str) -> Vec<Vec<u8>> {
    let id = format!("{PREFIX}{workload}").into_bytes();
    if workload.is_empty() || id.len() > MAX_BYTES {
        return Vec::new();
    }
    vec![id]
}

/// The workload that a client says it is; only sessions say so.
pub(crate) fn caller(hello: &ClientHello<'_>) -> Option<String> {
    hello.alpn()?.find_map(name)
}

fn name(id: &[u8]) -> Option<String> {
    let name = id.strip_prefix(PREFIX.as_bytes())?;
    String::from_utf8(name.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_offered_and_read_if_it_fits() {
        let longest = "n".repeat(MAX_BYTES - PREFIX.len());
        for workload in ["shop-v1", &longest] {
            let [id] = offer(workload).try_into().expect("one protocol");
            assert!(id.len() <= MAX_BYTES);
            assert_eq!(name(&id).as_deref(), Some(workload));
        }
        assert!(offer(&format!("{longest}n")).is_empty());
        assert!(offer("").is_empty());
    }

    #[test]
    fn other_protocols_name_nobody() {
        for id in [
            &b"h2"[..],
            b"http/1.1",
            b"mesh-workload",
            b"mesh-workload/\xff",
        ] {
            assert_eq!(name(id), None, "{id:?}");
        }
    }
}
