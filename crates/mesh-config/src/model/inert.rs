//! Kinds of Kubernetes and Istio that are taken and kept, but not acted on.
//!
//! A user's YAML is full of them. Each gets one warning that says what it means that the mesh
//! leaves it alone, and above all where a rule that protects something is not enforced. Kinds of
//! [`Kind::TYPED`](super::Kind::TYPED) that are not acted on take their words from here, too.

use super::InertKind;

/// The groups of [`INERT`] and the versions in which their kinds are usually written. Core, which
/// only has `v1`, is not listed.
pub(super) const INERT_GROUPS: &[(&str, &[&str])] = &[
    ("admissionregistration.k8s.io", &["v1"]),
    ("apiextensions.k8s.io", &["v1"]),
    ("apiregistration.k8s.io", &["v1"]),
    ("apps", &["v1"]),
    ("autoscaling", &["v2", "v1"]),
    ("batch", &["v1"]),
    ("coordination.k8s.io", &["v1"]),
    ("discovery.k8s.io", &["v1"]),
    ("extensions.istio.io", &["v1alpha1"]),
    ("gateway.networking.x-k8s.io", &["v1alpha1"]),
    ("inference.networking.k8s.io", &["v1"]),
    ("inference.networking.x-k8s.io", &["v1alpha2"]),
    ("install.istio.io", &["v1alpha1"]),
    ("networking.istio.io", &["v1", "v1beta1", "v1alpha3"]),
    ("networking.k8s.io", &["v1"]),
    ("policy", &["v1"]),
    ("rbac.authorization.k8s.io", &["v1"]),
    ("scheduling.k8s.io", &["v1"]),
    ("storage.k8s.io", &["v1"]),
];

const CONTAINERS: &str = "the mesh starts no containers; run the program with an agent beside it \
                          that names its WorkloadGroup";
const ACCOUNT: &str =
    "identities come from mesh-ca, and the WorkloadGroup names the service account";
pub(super) const DATA: &str = "programs must get their files and variables themselves";
const ENDPOINTS: &str = "the endpoints of a Service are the agents that registered and its \
                         WorkloadEntries";
const CLUSTER: &str = "there is no cluster for it to act in";
pub(super) const UNENFORCED: &str = "it is NOT enforced: no request is refused because of it";
pub(super) const PEERS_UNENFORCED: &str = "it is NOT enforced: agents always demand mTLS at their mesh port, \
                                and whatever it says changes nothing";
pub(super) const JWT_UNENFORCED: &str = "it is NOT enforced: no token is checked";
const NETWORK_UNENFORCED: &str = "it is NOT enforced: packets are filtered by the network alone";
const INGRESS: &str = "use a Gateway and a VirtualService to let traffic in";
const GATEWAY_API: &str = "this extension of the Gateway API is not served; use the kinds of \
                           gateway.networking.k8s.io";
const ENVOY: &str = "it patches Envoy, which the mesh's proxies are not";
const PROXY: &str = "proxies are configured by their flags";
const WASM: &str = "proxies run no extensions";
pub(super) const TELEMETRY: &str = "every proxy reports the standard metrics";
const INSTALL: &str = "the mesh is installed by starting its programs";

const NAMESPACED: bool = true;
const CLUSTER_WIDE: bool = false;

const fn row(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
    note: &'static str,
) -> InertKind {
    InertKind {
        group,
        kind,
        plural,
        namespaced,
        note,
    }
}

/// All kinds that are taken and not acted on.
#[rustfmt::skip]
pub static INERT: &[InertKind] = &[
    // What runs.
    row("", "Pod", "pods", NAMESPACED, CONTAINERS),
    row("", "PodTemplate", "podtemplates", NAMESPACED, CONTAINERS),
    row("", "ReplicationController", "replicationcontrollers", NAMESPACED, CONTAINERS),
    row("apps", "ControllerRevision", "controllerrevisions", NAMESPACED, CONTAINERS),
    row("apps", "DaemonSet", "daemonsets", NAMESPACED, CONTAINERS),
    row("apps", "Deployment", "deployments", NAMESPACED, CONTAINERS),
    row("apps", "ReplicaSet", "replicasets", NAMESPACED, CONTAINERS),
    row("apps", "StatefulSet", "statefulsets", NAMESPACED, CONTAINERS),
    row("batch", "CronJob", "cronjobs", NAMESPACED, CONTAINERS),
    row("batch", "Job", "jobs", NAMESPACED, CONTAINERS),

    // What it needs.
    row("", "ServiceAccount", "serviceaccounts", NAMESPACED, ACCOUNT),
    row("", "PersistentVolume", "persistentvolumes", CLUSTER_WIDE, DATA),
    row("", "PersistentVolumeClaim", "persistentvolumeclaims", NAMESPACED, DATA),
    row("storage.k8s.io", "CSIDriver", "csidrivers", CLUSTER_WIDE, DATA),
    row("storage.k8s.io", "StorageClass", "storageclasses", CLUSTER_WIDE, DATA),

    // The cluster itself.
    row("", "Endpoints", "endpoints", NAMESPACED, ENDPOINTS),
    row("", "Event", "events", NAMESPACED, CLUSTER),
    row("", "LimitRange", "limitranges", NAMESPACED, CLUSTER),
    row("", "Node", "nodes", CLUSTER_WIDE, CLUSTER),
    row("", "ResourceQuota", "resourcequotas", NAMESPACED, CLUSTER),
    row("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", CLUSTER_WIDE, CLUSTER),
    row("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", CLUSTER_WIDE, CLUSTER),
    row("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", CLUSTER_WIDE, CLUSTER),
    row("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", CLUSTER_WIDE, CLUSTER),
    row("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", CLUSTER_WIDE, CLUSTER),
    row("apiregistration.k8s.io", "APIService", "apiservices", CLUSTER_WIDE, CLUSTER),
    row("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers", NAMESPACED, CONTAINERS),
    row("coordination.k8s.io", "Lease", "leases", NAMESPACED, CLUSTER),
    row("discovery.k8s.io", "EndpointSlice", "endpointslices", NAMESPACED, ENDPOINTS),
    row("policy", "PodDisruptionBudget", "poddisruptionbudgets", NAMESPACED, CONTAINERS),
    row("rbac.authorization.k8s.io", "ClusterRole", "clusterroles", CLUSTER_WIDE, CLUSTER),
    row("rbac.authorization.k8s.io", "ClusterRoleBinding", "clusterrolebindings", CLUSTER_WIDE, CLUSTER),
    row("rbac.authorization.k8s.io", "Role", "roles", NAMESPACED, CLUSTER),
    row("rbac.authorization.k8s.io", "RoleBinding", "rolebindings", NAMESPACED, CLUSTER),
    row("scheduling.k8s.io", "PriorityClass", "priorityclasses", CLUSTER_WIDE, CONTAINERS),

    // Traffic by other means.
    row("networking.k8s.io", "Ingress", "ingresses", NAMESPACED, INGRESS),
    row("networking.k8s.io", "IngressClass", "ingressclasses", CLUSTER_WIDE, INGRESS),
    row("networking.k8s.io", "NetworkPolicy", "networkpolicies", NAMESPACED, NETWORK_UNENFORCED),
    row("gateway.networking.x-k8s.io", "XBackend", "xbackends", NAMESPACED, GATEWAY_API),
    row("gateway.networking.x-k8s.io", "XBackendTrafficPolicy", "xbackendtrafficpolicies", NAMESPACED, GATEWAY_API),
    row("gateway.networking.x-k8s.io", "XListenerSet", "xlistenersets", NAMESPACED, GATEWAY_API),
    row("gateway.networking.x-k8s.io", "XMesh", "xmeshes", CLUSTER_WIDE, GATEWAY_API),
    row("inference.networking.k8s.io", "InferencePool", "inferencepools", NAMESPACED, GATEWAY_API),
    row("inference.networking.x-k8s.io", "InferenceObjective", "inferenceobjectives", NAMESPACED, GATEWAY_API),

    // The rest of Istio.
    row("networking.istio.io", "EnvoyFilter", "envoyfilters", NAMESPACED, ENVOY),
    row("networking.istio.io", "ProxyConfig", "proxyconfigs", NAMESPACED, PROXY),
    row("extensions.istio.io", "TrafficExtension", "trafficextensions", NAMESPACED, WASM),
    row("extensions.istio.io", "WasmPlugin", "wasmplugins", NAMESPACED, WASM),
    row("install.istio.io", "IstioOperator", "istiooperators", NAMESPACED, INSTALL),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::Kind;

    #[test]
    fn every_row_is_one_kind_of_a_known_group() {
        let mut kinds = BTreeSet::new();
        let mut plurals = BTreeSet::new();
        for row in INERT {
            let group_is_known =
                row.group.is_empty() || INERT_GROUPS.iter().any(|(group, _)| *group == row.group);
            assert!(group_is_known, "{row:?}");
            assert!(kinds.insert((row.group, row.kind)), "{row:?}");
            assert!(plurals.insert((row.group, row.plural)), "{row:?}");
            assert_eq!(row.plural, row.plural.to_lowercase());
        }
        for typed in Kind::TYPED {
            assert!(!kinds.contains(&(typed.group(), typed.kind())), "{typed}");
        }
    }

    #[test]
    fn a_policy_that_protects_nothing_says_so() {
        for kind in [
            "AuthorizationPolicy",
            "PeerAuthentication",
            "RequestAuthentication",
            "NetworkPolicy",
        ] {
            let known = Kind::all().find(|known| known.kind() == kind).expect(kind);
            let note = known.note().expect(kind);
            assert!(note.contains("NOT enforced"), "{known}: {note}");
        }
    }
}
