//! An object: its identity, its meaning, and how it was written.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    AuthorizationPolicy, ConfigMap, DestinationRule, Gateway, Kind, Metadata, PeerAuthentication,
    RequestAuthentication, Secret, Service, ServiceEntry, Sidecar, Telemetry, VirtualService,
    WorkloadEntry, WorkloadGroup, gateway_api,
};
use crate::finding::Place;
use crate::yaml::{Mark, Marks};

/// One object as the user wrote it, and what it means to the mesh.
#[derive(Clone)]
pub struct Object {
    /// As written, for example `networking.istio.io/v1alpha3`.
    pub api_version: String,
    /// What kind of object this is.
    pub kind: Kind,
    /// Name, namespace, labels and bookkeeping.
    pub metadata: Metadata,
    /// The part that the mesh acts on.
    pub spec: Spec,
    /// The whole object as JSON, unchanged, for reading it back.
    pub raw: Value,
    /// Where it came from, if it came from a text.
    pub origin: Option<Origin>,
}

/// An object that many readers share.
pub type SharedObject = Arc<Object>;

/// What an object asks of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// Core v1 Service.
    Service(Service),
    /// `networking.istio.io` Gateway.
    Gateway(Gateway),
    /// `networking.istio.io` VirtualService.
    VirtualService(VirtualService),
    /// `networking.istio.io` DestinationRule.
    DestinationRule(Box<DestinationRule>),
    /// `networking.istio.io` WorkloadGroup.
    WorkloadGroup(WorkloadGroup),
    /// `networking.istio.io` WorkloadEntry.
    WorkloadEntry(WorkloadEntry),
    /// `security.istio.io` PeerAuthentication.
    PeerAuthentication(PeerAuthentication),
    /// `security.istio.io` AuthorizationPolicy.
    AuthorizationPolicy(AuthorizationPolicy),
    /// `security.istio.io` RequestAuthentication.
    RequestAuthentication(RequestAuthentication),
    /// `telemetry.istio.io` Telemetry.
    Telemetry(Telemetry),
    /// Core v1 Namespace: its labels are in the metadata.
    Namespace,
    /// Core v1 Secret.
    Secret(Secret),
    /// Core v1 ConfigMap.
    ConfigMap(ConfigMap),
    /// `networking.istio.io` ServiceEntry.
    ServiceEntry(ServiceEntry),
    /// `networking.istio.io` Sidecar.
    Sidecar(Sidecar),
    /// A kind of the Gateway API.
    GatewayApi(gateway_api::Spec),
    /// A known kind that is kept and not acted on, for example a Deployment.
    Inert,
}

/// Kind, namespace and name: what makes an object one object. The API version is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// The namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    /// `VirtualService default/fleetman-webapp`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// Where an object was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file, or a name such as `request body`.
    pub file: Arc<Path>,
    /// The document inside the file, counted from 1.
    pub document: usize,
    /// The line on which the object starts, counted from 1.
    pub line: usize,
    /// Where each of its fields was written.
    pub(crate) marks: Arc<Marks>,
}

impl Origin {
    /// The place of a field of the object whose JSON is `raw`; of the object itself where it has no such field.
    pub(crate) fn place_of(&self, raw: &Value, field: &str) -> Place {
        let mark = self.marks.find(raw, field).unwrap_or(Mark {
            line: self.line,
            column: 1,
        });
        Place {
            file: Arc::clone(&self.file),
            document: self.document,
            mark,
        }
    }
}

impl fmt::Debug for Object {
    /// Of a Secret only what is no secret: [`Object::raw`] and the annotations, where `kubectl` keeps a copy of
    /// what it applied, have its values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut object = f.debug_struct("Object");
        object
            .field("api_version", &self.api_version)
            .field("spec", &self.spec)
            .field("origin", &self.origin);
        if self.kind == Kind::Secret {
            object.field("key", &self.key().to_string());
            return object.finish_non_exhaustive();
        }
        object
            .field("kind", &self.kind)
            .field("metadata", &self.metadata)
            .field("raw", &self.raw)
            .finish()
    }
}

impl Object {
    /// What makes this object one object.
    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            kind: self.kind,
            namespace: self.metadata.namespace.clone(),
            name: self.metadata.name.clone(),
        }
    }

    /// The object as the config API shows it: [`Object::raw`] with the identity and the
    /// bookkeeping of [`Object::metadata`] written in.
    pub fn to_json(&self) -> Value {
        let mut object = self.raw.as_object().cloned().unwrap_or_default();
        object.insert("apiVersion".into(), json!(self.api_version));
        object.insert("kind".into(), json!(self.kind.kind()));
        let mut metadata = object
            .get("metadata")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        metadata.insert("name".into(), json!(self.metadata.name));
        if self.kind.namespaced() {
            metadata.insert("namespace".into(), json!(self.metadata.namespace));
        }
        let mut set = |key: &str, value: &Option<String>| match value {
            Some(value) => {
                metadata.insert(key.into(), json!(value));
            }
            None => {
                metadata.remove(key);
            }
        };
        set("resourceVersion", &self.metadata.resource_version);
        set("creationTimestamp", &self.metadata.creation_timestamp);
        object.insert("metadata".into(), Value::Object(metadata));
        Value::Object(object)
    }

    /// Whether both say the same, whatever the store has noted on either of them: then replacing
    /// one by the other changes nothing. The API version counts, since it is read back.
    pub fn same_content(&self, other: &Object) -> bool {
        self.content() == other.content()
    }

    /// The object without the server's bookkeeping.
    fn content(&self) -> Value {
        const BOOKKEEPING: [&str; 6] = [
            "creationTimestamp",
            "generation",
            "managedFields",
            "resourceVersion",
            "selfLink",
            "uid",
        ];
        let mut content = self.to_json();
        if let Some(object) = content.as_object_mut() {
            object.remove("status");
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                drop_keys(metadata, &BOOKKEEPING);
            }
        }
        content
    }

    /// The Service, if this is one.
    pub fn as_service(&self) -> Option<&Service> {
        match &self.spec {
            Spec::Service(spec) => Some(spec),
            _ => None,
        }
    }

    /// The Gateway, if this is one.
    pub fn as_gateway(&self) -> Option<&Gateway> {
        match &self.spec {
            Spec::Gateway(spec) => Some(spec),
            _ => None,
        }
    }

    /// The VirtualService, if this is one.
    pub fn as_virtual_service(&self) -> Option<&VirtualService> {
        match &self.spec {
            Spec::VirtualService(spec) => Some(spec),
            _ => None,
        }
    }

    /// The DestinationRule, if this is one.
    pub fn as_destination_rule(&self) -> Option<&DestinationRule> {
        match &self.spec {
            Spec::DestinationRule(spec) => Some(spec),
            _ => None,
        }
    }

    /// What it asks of the Gateway API, if it is of one of its kinds.
    pub fn as_gateway_api(&self) -> Option<&gateway_api::Spec> {
        match &self.spec {
            Spec::GatewayApi(spec) => Some(spec),
            _ => None,
        }
    }

    /// The WorkloadGroup, if this is one.
    pub fn as_workload_group(&self) -> Option<&WorkloadGroup> {
        match &self.spec {
            Spec::WorkloadGroup(spec) => Some(spec),
            _ => None,
        }
    }

    /// The Secret, if this is one.
    pub fn as_secret(&self) -> Option<&Secret> {
        match &self.spec {
            Spec::Secret(spec) => Some(spec),
            _ => None,
        }
    }

    /// The ConfigMap, if this is one.
    pub fn as_config_map(&self) -> Option<&ConfigMap> {
        match &self.spec {
            Spec::ConfigMap(spec) => Some(spec),
            _ => None,
        }
    }

    /// The WorkloadEntry, if this is one.
    pub fn as_workload_entry(&self) -> Option<&WorkloadEntry> {
        match &self.spec {
            Spec::WorkloadEntry(spec) => Some(spec),
            _ => None,
        }
    }

    /// The ServiceEntry, if this is one.
    pub fn as_service_entry(&self) -> Option<&ServiceEntry> {
        match &self.spec {
            Spec::ServiceEntry(spec) => Some(spec),
            _ => None,
        }
    }

    /// The Sidecar, if this is one.
    pub fn as_sidecar(&self) -> Option<&Sidecar> {
        match &self.spec {
            Spec::Sidecar(spec) => Some(spec),
            _ => None,
        }
    }
}

fn drop_keys(map: &mut Map<String, Value>, keys: &[&str]) {
    for key in keys {
        map.remove(*key);
    }
}
