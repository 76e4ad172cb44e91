//! Core v1 Service.

use super::Type::{Bool, Integer, IntegerOrText, List, Object, OneOf, Text, Word};
use super::{
    CLUSTER_IP, LABELS, PORT, Shape, TEXTS, accepted, acted, noted, object, past_the_mesh, quiet,
    shape,
};

pub(super) static OBJECT: Shape = object!(acted("spec", Object(&SPEC)).required());

static SPEC: Shape = shape(&[
    acted("selector", LABELS),
    acted("ports", List(&Object(&SERVICE_PORT))),
    past_the_mesh(
        "type",
        OneOf(&["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]),
    )
    .unless(&["ClusterIP", "ExternalName"]),
    acted("externalName", Text),
    acted("clusterIP", Word(CLUSTER_IP)),
    acted("clusterIPs", List(&Word(CLUSTER_IP))),
    past_the_mesh("externalIPs", TEXTS),
    past_the_mesh("loadBalancerIP", Text),
    past_the_mesh("loadBalancerClass", Text),
    past_the_mesh("loadBalancerSourceRanges", TEXTS),
    quiet("allocateLoadBalancerNodePorts", Bool),
    accepted("externalTrafficPolicy", OneOf(&["Cluster", "Local"])).unless(&["Cluster"]),
    accepted("internalTrafficPolicy", OneOf(&["Cluster", "Local"])).unless(&["Cluster"]),
    accepted("healthCheckNodePort", Integer(0, 65_535)),
    quiet("ipFamilies", TEXTS),
    quiet("ipFamilyPolicy", Text),
    accepted("publishNotReadyAddresses", Bool).unless(&["false"]),
    noted(
        "sessionAffinity",
        OneOf(&["None", "ClientIP"]),
        "requests of one client go to all endpoints",
    )
    .unless(&["None"]),
    accepted("sessionAffinityConfig", Object(&AFFINITY)),
    accepted("trafficDistribution", Text),
    // No longer part of Kubernetes, but still written by old exports.
    quiet("topologyKeys", TEXTS),
]);

static SERVICE_PORT: Shape = shape(&[
    acted("name", Text),
    acted("port", PORT).required(),
    acted("targetPort", IntegerOrText),
    acted("appProtocol", Text),
    noted(
        "protocol",
        OneOf(&["TCP", "UDP", "SCTP"]),
        "proxies carry TCP only, so the port is not served",
    )
    .unless(&["TCP"]),
    past_the_mesh("nodePort", Integer(0, 65_535)),
]);

static AFFINITY: Shape = shape(&[acted("clientIP", Object(&CLIENT_IP))]);

static CLIENT_IP: Shape = shape(&[acted("timeoutSeconds", Integer(1, 86_400))]);
