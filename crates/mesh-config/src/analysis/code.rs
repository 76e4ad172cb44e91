//! The codes of findings: Istio's own where it has one, `MESH…` for what it has no word for.
//!
//! [`CODES`] is the one table; `docs/analysis.md` shows it, and a test holds the page against it.

use std::fmt;

use crate::finding::Level;

/// A kind of finding.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Code {
    /// `IST0101`, or `MESH0001`.
    pub id: &'static str,
    /// Istio's name of it, or ours: `ReferencedResourceNotFound`.
    pub name: &'static str,
    /// How much findings of this kind matter.
    pub level: Level,
    /// What it means, as a sentence without a full stop.
    pub meaning: &'static str,
    /// What to do about it, as a sentence without a full stop.
    pub remedy: &'static str,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

macro_rules! codes {
    ($($constant:ident = $id:literal $name:ident $level:ident: $meaning:literal, $remedy:literal;)*) => {
        $(
            #[doc = $meaning]
            pub static $constant: Code = Code {
                id: $id,
                name: stringify!($name),
                level: Level::$level,
                meaning: $meaning,
                remedy: $remedy,
            };
        )*

        /// Every code that is ever told, in order.
        pub static CODES: &[&Code] = &[$(&$constant),*];
    };
}

codes! {
    DEPRECATED = "IST0002" Deprecated Warning:
        "A field is still read, but has a successor or no effect", "Write what the message names instead";
    NOT_FOUND = "IST0101" ReferencedResourceNotFound Error:
        "Something is named that does not exist: a host, a port, a subset, a Gateway, a Secret, a namespace, or workloads with these labels",
        "Correct the name, or apply what it stands for";
    SCHEMA_ERROR = "IST0106" SchemaValidationError Error:
        "The object is not valid by itself, and is refused", "Correct the field that the message names";
    HOST_CONFLICT = "IST0109" ConflictingMeshGatewayVirtualServiceHosts Error:
        "Several VirtualServices say where in-mesh requests for one host go; sidecars follow the oldest and never the others",
        "Merge them into one VirtualService";
    SIDECAR_CONFLICT = "IST0110" ConflictingSidecarWorkloadSelectors Error:
        "Several Sidecars select the same workload, and it is not defined which one it follows", "Let their selectors exclude one another";
    SIDECAR_DEFAULTS = "IST0111" MultipleSidecarsWithoutWorkloadSelectors Error:
        "Several Sidecars of one namespace have no selector, and it is not defined which one counts", "Keep one of them";
    PORT_NEEDED = "IST0112" VirtualServiceDestinationPortSelectorRequired Error:
        "A destination has several ports, and the route does not say which one", "Give the destination a port.number";
    PROTOCOL_CONFLICT = "IST0116" DeploymentAssociatedToMultipleServices Warning:
        "Services of one Deployment have the same port with different protocols", "Give each protocol a port of its own";
    PORT_NAME = "IST0118" PortNameIsNotUnderNamingConvention Info:
        "Neither the port's name nor its appProtocol says what is spoken on it", "Begin the name with the protocol, http-web, or set appProtocol";
    NO_WORKLOADS = "IST0127" NoMatchingWorkloadsFound Warning:
        "A policy selects no workload, so it protects nothing", "Correct its selector or its namespace";
    NO_CA_RULE = "IST0128" NoServerCertificateVerificationDestinationLevel Warning:
        "TLS is begun without caCertificates, so the server's certificate is not verified", "Set tls.caCertificates";
    NO_CA_PORT = "IST0129" NoServerCertificateVerificationPortLevel Warning:
        "TLS to one port is begun without caCertificates, so the server's certificate is not verified", "Set tls.caCertificates of the port";
    UNREACHABLE_RULE = "IST0130" VirtualServiceUnreachableRule Warning:
        "A rule is never reached, since the ones before it take every request that it matches", "Move it up, or remove it";
    INEFFECTIVE_MATCH = "IST0131" VirtualServiceIneffectiveMatch Info:
        "A match is never reached, since an earlier one takes every request that it matches", "Move it up, or remove it";
    HOST_NOT_IN_GATEWAY = "IST0132" VirtualServiceHostNotFoundInGateway Warning:
        "A VirtualService is bound to a Gateway that opens none of its hosts to it, so nothing comes in for them", "Add the host to a server of the Gateway, or correct it";
    SCHEMA_WARNING = "IST0133" SchemaWarning Warning:
        "The object is valid, and something in it is not as it should be", "See the message";
    ADDRESSES_NEEDED = "IST0134" ServiceEntryAddressesRequired Warning:
        "A ServiceEntry has a TCP port and no addresses, so it stands for every address of that port", "Set spec.addresses, or name the port's protocol";
    TARGET_PORT_CONFLICT = "IST0137" DeploymentConflictingPorts Warning:
        "Services of one Deployment lead from different ports to the same port of it", "Use one port for one targetPort";
    SAME_CERTIFICATE = "IST0138" GatewayDuplicateCertificate Warning:
        "Several Gateways of one workload show the same certificate; a client that reuses its HTTP/2 connection for another host gets 404", "Put the hosts into one server, or use other certificates";
    NO_EFFECT_AT_GATEWAY = "IST0140" IngressRouteRulesNotAffected Warning:
        "A route at a gateway sends to a host whose subsets another VirtualService chooses inside the mesh; at the gateway that choice has no effect", "Name the subsets in this VirtualService, too";
    RESERVED_USER = "IST0144" InvalidApplicationUID Warning:
        "A program runs as user 1337, which Istio reserves for its proxy", "Use another user";
    GATEWAY_CONFLICT = "IST0145" ConflictingGateways Error:
        "Several Gateways open the same host on the same port of one gateway workload", "Keep the host in one of them";
    NO_TOKEN_CHECK = "IST0149" JwtClaimBasedRoutingWithoutRequestAuthN Error:
        "Requests are routed by a token's claims at a gateway that checks no tokens", "Apply a RequestAuthentication for the gateway";
    EXTERNAL_PORT_NAME = "IST0150" ExternalNameServiceTypeInvalidPortName Warning:
        "The port of an ExternalName Service does not say what is spoken on it", "Begin its name with the protocol, and do not call it just tcp";
    NO_PROVIDER = "IST0157" InvalidTelemetryProvider Warning:
        "A Telemetry switches access logging on without naming a provider, and the mesh has no default one", "Name one in accessLogging.providers";
    TELEMETRY_CONFLICT = "IST0159" ConflictingTelemetryWorkloadSelectors Error:
        "Several Telemetries select the same workload, and it is not defined which one it follows", "Let their selectors exclude one another";
    TELEMETRY_DEFAULTS = "IST0160" MultipleTelemetriesWithoutWorkloadSelectors Error:
        "Several Telemetries of one namespace have no selector, and it is not defined which one counts", "Keep one of them";
    BAD_CREDENTIAL = "IST0161" InvalidGatewayCredential Error:
        "The Secret of a Gateway holds no certificate and key that can be used now", "Put tls.crt and tls.key into it, with a certificate that is valid today";
    PORT_NOT_OPEN = "IST0162" GatewayPortNotDefinedOnService Warning:
        "A Gateway opens a port that the Service in front of the gateway does not have", "Add the port to the Service";
    INTERNAL_GATEWAY = "IST0165" ReferencedInternalGateway Warning:
        "A VirtualService is bound to a Gateway that was made from another object and may change or vanish", "Name the object itself";
    SELECTOR_AT_GATEWAY = "IST0166" IneffectiveSelector Warning:
        "A policy selects the workload of a Kubernetes Gateway by labels, which has no effect", "Name the Gateway in targetRefs";
    NO_EFFECT = "IST0167" IneffectivePolicy Warning:
        "A Sidecar is for workloads that have none", "Remove it";
    NEGATIVE_CONDITION = "IST0171" NegativeConditionStatus Warning:
        "The object's status says that it was not accepted or is not in effect", "See the reason in the message";
    EMPTY_SUBSET = "IST0173" DestinationRuleSubsetNotSelectPods Error:
        "A subset's labels select no workload; requests for it are answered with 503", "Correct the subset's labels, or start a workload that has them";
    RULE_FOR_NOBODY = "IST0174" UnknownDestinationRuleHost Warning:
        "A DestinationRule is for a host that nobody has", "Correct the host, or apply the Service";
    JWKS_UNRESTRICTED = "IST0175" JwksUriFetchUnrestricted Warning:
        "An istiod of these files may fetch keys from any address that a RequestAuthentication names", "Set BLOCKED_CIDRS_IN_JWKS_URIS on it";
    PROTOCOL_DISAGREEMENT = "IST0177" ConflictingServiceEntryProtocol Warning:
        "Several ServiceEntries give one host and port different protocols", "Agree on one protocol";

    PAST_THE_MESH = "MESH0001" PortPastTheMesh Warning:
        "Traffic can reach a service without passing any proxy of the mesh: no weights, no mTLS, no policies, and no gateway in the graph",
        "Let clients in through a Gateway, and make the Service a ClusterIP, or do not publish the port";
    NOT_BETWEEN_SERVICES = "MESH0002" NotBoundToMesh Info:
        "A VirtualService is bound to gateways only, while other workloads of the mesh may call the same host: between services its rules have no effect",
        "Add mesh to its gateways if they are meant for callers in the mesh, too";
    NOT_ACTED_ON = "MESH0003" NotActedOn Warning:
        "A field or a kind is valid and kept, and the mesh does not act on it", "Remove it, or do without it: the message says what that means";
    ADDRESS_TAKEN = "MESH0004" ServiceAddressTaken Warning:
        "Two Services have the same loopback address and port; sidecars listen there for the older one", "Give one of them another clusterIP in 127.0.0.0/8";
    OPAQUE_PORTS = "MESH0005" HttpRulesForOpaquePorts Warning:
        "HTTP rules are written for a service none of whose ports speaks HTTP", "Name the protocol: begin the port's name with http, or set appProtocol";
    WRITTEN_TWICE = "MESH0006" WrittenTwice Warning:
        "One object is written more than once, and the last one counts", "Remove the others";
    SUBSET_WITHOUT_RULE = "MESH0007" SubsetWithoutRule Warning:
        "A route names a subset of a host that has no DestinationRule; requests for it are answered with 503", "Apply a DestinationRule that defines the subset";
    NOT_OPENED = "MESH0008" ServerNotOpened Warning:
        "A gateway does not open a server, since an older one has its port for something else, or its host", "Give it a port or hosts of its own";
}
