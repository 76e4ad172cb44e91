//! Kubernetes' resource paths: which kind, namespace and name a URL means.

use mesh_config::model::{Kind, ObjectKey};

use super::status::{ApiError, Reason};

/// A collection or an object of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub(crate) kind: Kind,
    /// The version under which it is spoken of, `networking.istio.io/v1`.
    pub(crate) api_version: String,
    /// None: all namespaces, or a kind without any.
    pub(crate) namespace: Option<String>,
    /// None: the collection.
    pub(crate) name: Option<String>,
}

impl ResourcePath {
    /// Reads what follows `/api/v1/` (with an empty group) or `/apis/GROUP/VERSION/`.
    pub(crate) fn parse(group: &str, version: &str, rest: &str) -> Result<Self, ApiError> {
        let api_version = if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        };
        let segments: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
        let (namespace, plural, name, more) = match segments[..] {
            // Namespaces are themselves objects without a namespace.
            ["namespaces"] | ["namespaces", _] => {
                (None, "namespaces", segments.get(1).copied(), None)
            }
            ["namespaces", namespace, plural] => (Some(namespace), plural, None, None),
            ["namespaces", namespace, plural, name] => (Some(namespace), plural, Some(name), None),
            ["namespaces", namespace, plural, name, more] => {
                (Some(namespace), plural, Some(name), Some(more))
            }
            [plural] => (None, plural, None, None),
            [plural, name] => (None, plural, Some(name), None),
            [plural, name, more] => (None, plural, Some(name), Some(more)),
            _ => return Err(no_such_path(&api_version, rest)),
        };
        let kind = Kind::from_plural(group, version, plural)
            .ok_or_else(|| no_such_resource(&api_version, plural))?;
        if let Some(more) = more {
            let message = format!(
                "{kind} has no subresource {more} here; the object itself is at the path before it"
            );
            return Err(ApiError::new(Reason::NotFound, message));
        }
        match (kind.namespaced(), namespace, name) {
            (true, None, Some(name)) => Err(ApiError::new(
                Reason::NotFound,
                format!(
                    "a {kind} lives in a namespace; use …/namespaces/NAMESPACE/{plural}/{name}"
                ),
            )),
            (false, Some(_), _) => Err(ApiError::new(
                Reason::NotFound,
                format!("a {kind} lives in no namespace; use …/{plural}"),
            )),
            _ => Ok(Self {
                kind,
                api_version,
                namespace: namespace.map(str::to_owned),
                name: name.map(str::to_owned),
            }),
        }
    }

    /// The object's key, if the path names an object.
    pub(crate) fn key(&self) -> Option<ObjectKey> {
        Some(ObjectKey {
            kind: self.kind,
            namespace: self.namespace.clone().unwrap_or_default(),
            name: self.name.clone()?,
        })
    }
}

fn no_such_path(api_version: &str, rest: &str) -> ApiError {
    ApiError::new(
        Reason::NotFound,
        format!(
            "there is nothing at {rest} in {api_version}; paths are namespaces/NAMESPACE/PLURAL[/NAME]"
        ),
    )
}

fn no_such_resource(api_version: &str, plural: &str) -> ApiError {
    let root = if api_version.contains('/') {
        "apis"
    } else {
        "api"
    };
    ApiError::new(
        Reason::NotFound,
        format!(
            "{api_version} has no {plural}; GET /{root}/{api_version} lists what it has, GET /apis the groups"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(group: &str, version: &str, rest: &str) -> Result<String, ()> {
        let path = ResourcePath::parse(group, version, rest).map_err(|_| ())?;
        Ok(format!(
            "{} {} {:?} {:?}",
            path.api_version, path.kind, path.namespace, path.name
        ))
    }

    #[test]
    fn collections_and_objects() {
        let istio = "networking.istio.io";
        for (group, version, rest, want) in [
            (
                "",
                "v1",
                "namespaces/a/services",
                r#"v1 Service Some("a") None"#,
            ),
            (
                "",
                "v1",
                "namespaces/a/services/b",
                r#"v1 Service Some("a") Some("b")"#,
            ),
            ("", "v1", "services", "v1 Service None None"),
            ("", "v1", "namespaces", "v1 Namespace None None"),
            ("", "v1", "namespaces/a", r#"v1 Namespace None Some("a")"#),
            (
                istio,
                "v1alpha3",
                "namespaces/a/virtualservices/b",
                r#"networking.istio.io/v1alpha3 VirtualService Some("a") Some("b")"#,
            ),
            (
                istio,
                "v1beta1",
                "gateways/",
                "networking.istio.io/v1beta1 Gateway None None",
            ),
        ] {
            assert_eq!(parse(group, version, rest).as_deref(), Ok(want));
        }
    }

    #[test]
    fn what_is_not_there() {
        for (group, version, rest) in [
            ("", "v2", "services"),
            ("", "v1", "virtualservices"),
            ("", "v1", "services/b"),
            ("", "v1", "namespaces/a/namespaces/b"),
            ("", "v1", "namespaces/a/services/b/status"),
            ("networking.istio.io", "v1", ""),
            ("networking.istio.io", "v1", "namespaces/a/gateways/b/c/d"),
            ("example.org", "v1", "gateways"),
        ] {
            assert_eq!(
                parse(group, version, rest),
                Err(()),
                "{group}/{version} {rest}"
            );
        }
    }
}
