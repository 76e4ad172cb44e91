//! Which file an object lives in.
//!
//! `GROUP/PLURAL/NAMESPACE/NAME.json` below the objects' directory, `core` for the empty group and
//! `_` where a kind has no namespace, so that a person finds an object without a tool. Names come from
//! users: whatever is not harmless in a path is escaped, and what is too long for a file name is cut and
//! made unique by a hash.

use std::fmt::Write as _;
use std::path::PathBuf;

use mesh_config::model::ObjectKey;

/// Longest file name that every usual file system takes is 255 bytes; temporary names add to it.
const LONGEST_NAME: usize = 200;

/// The object's file, relative to the objects' directory.
pub(super) fn path_of(key: &ObjectKey) -> PathBuf {
    let group = match key.kind.group() {
        "" => "core",
        group => group,
    };
    let namespace = if key.namespace.is_empty() {
        "_".to_owned()
    } else {
        escape(&key.namespace)
    };
    PathBuf::from(group)
        .join(key.kind.plural())
        .join(namespace)
        .join(format!("{}.json", escape(&key.name)))
}

/// Keeps lower-case letters, digits, `-` and inner dots; everything else becomes `%XX`.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for (position, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => escaped.push(char::from(byte)),
            b'.' if position > 0 => escaped.push('.'),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    if escaped.len() <= LONGEST_NAME {
        return escaped;
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
    // The escaped text is ASCII, so that it can be cut anywhere.
    escaped.truncate(LONGEST_NAME - 17);
    escaped.push('~');
    for byte in &digest.as_ref()[..8] {
        let _ = write!(escaped, "{byte:02x}");
    }
    escaped
}

#[cfg(test)]
mod tests {
    use mesh_config::model::Kind;

    use super::*;

    fn file(namespace: &str, name: &str) -> String {
        path_of(&ObjectKey {
            kind: Kind::VirtualService,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
        .display()
        .to_string()
    }

    #[test]
    fn usual_names_are_readable() {
        assert_eq!(
            file("default", "fleetman-webapp"),
            "networking.istio.io/virtualservices/default/fleetman-webapp.json"
        );
        let service = path_of(&ObjectKey {
            kind: Kind::Service,
            namespace: "a".to_owned(),
            name: "b.c".to_owned(),
        });
        assert_eq!(service, PathBuf::from("core/services/a/b.c.json"));
    }

    #[test]
    fn no_name_leaves_its_directory() {
        assert_eq!(
            file("..", "../../x"),
            "networking.istio.io/virtualservices/%2E./%2E.%2F..%2Fx.json"
        );
        assert_eq!(
            file("a", "System:Node"),
            "networking.istio.io/virtualservices/a/%53ystem%3A%4Eode.json"
        );
    }

    #[test]
    fn long_names_stay_apart() {
        let (one, two) = ("x".repeat(253), format!("{}y", "x".repeat(252)));
        let (one, two) = (file("a", &one), file("a", &two));
        assert_ne!(one, two);
        let name = one.rsplit('/').next().unwrap();
        assert!(name.len() <= LONGEST_NAME + ".json".len(), "{name}");
    }
}
