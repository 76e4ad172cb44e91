//! `networking.istio.io` Gateway: which workloads listen where, for which hosts, with which certificates.

use std::collections::BTreeMap;

/// A Gateway: which workloads listen where, for which hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// Labels that a gateway workload must all carry.
    pub selector: BTreeMap<String, String>,
    /// The listeners.
    pub servers: Vec<GatewayServer>,
}

/// One server of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayServer {
    /// Where it listens and what it speaks.
    pub port: ServerPort,
    /// The IP address to listen on; `None` is all of them.
    pub bind: Option<String>,
    /// `[namespace/]dnsName` each, lower case; see `vs-semantics`, "Gateway server hosts".
    pub hosts: Vec<String>,
    /// Certificates and redirects.
    pub tls: Option<ServerTls>,
}

/// The port of a Gateway server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPort {
    /// 1 to 65535.
    pub number: u16,
    /// The port's name.
    pub name: String,
    /// What is spoken.
    pub protocol: ServerProtocol,
}

/// What a server speaks, as far as it makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerProtocol {
    /// `HTTP`, `HTTP2`, `GRPC` and `GRPC-WEB`: each is told by its first bytes.
    Http,
    /// HTTP behind TLS; with [`ServerTlsMode::Passthrough`] the same as [`ServerProtocol::Tls`].
    Https,
    /// Bytes behind TLS.
    Tls,
    /// `TCP`, and what is carried like it: `MONGO`, `MYSQL`, `REDIS`.
    Tcp,
}

/// The `tls` of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerTls {
    /// Requests in plain text are sent to `https` with 301.
    pub https_redirect: bool,
    /// Who terminates TLS, and whether clients show a certificate.
    pub mode: ServerTlsMode,
    /// Names of Secrets with a certificate and its key: one for each kind of key, two at most.
    pub credentials: Vec<String>,
    /// Whether the names in `credentials` are `NAMESPACE/NAME` of Secrets that the gateway may have wherever it
    /// runs itself. No Gateway of a user says so: only a Gateway of the Gateway API, whose references have been
    /// judged by its ReferenceGrants.
    pub are_granted: bool,
    /// Hosts of other servers at the port. Requests for them on a connection that was made for this server are
    /// answered with 421, so that a client comes again by the right server's name. Only the Gateway API asks for it.
    pub misdirected: Vec<String>,
    /// ConfigMaps `NAMESPACE/NAME` with the authorities of clients in `ca.crt`, all of them trusted. Only of the
    /// Gateway API, which has judged them.
    pub ca_config_maps: Vec<String>,
    /// Files at the gateway with a certificate and its key, two at most. Not beside `credentials`.
    pub certificates: Vec<CertificateFiles>,
    /// A file at the gateway with the authorities of clients.
    pub ca_file: Option<String>,
    /// A Secret with the authorities of clients, if it is another one than that of the certificate.
    pub ca_credential: Option<String>,
    /// A file at the gateway with revoked certificates of clients.
    pub crl_file: Option<String>,
    /// Names of which a client's certificate must have one; empty for any.
    pub subject_alt_names: Vec<String>,
    /// SHA-256 of public keys in base64, of which a client's must be one; empty for any.
    pub spki: Vec<String>,
    /// SHA-256 of certificates in hexadecimal, of which a client's must be one; empty for any.
    pub hashes: Vec<String>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// The newest version that is spoken.
    pub max_version: TlsVersion,
    /// OpenSSL's names of cipher suites of TLS 1.2 that the proxies know; empty for all of them.
    pub cipher_suites: Vec<String>,
}

/// Who terminates TLS at a server, and whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerTlsMode {
    /// The gateway, for any client.
    #[default]
    Simple,
    /// The gateway, for clients with a certificate.
    Mutual,
    /// The gateway; a certificate is verified if there is one.
    OptionalMutual,
    /// The gateway by its mesh certificate, for clients of the mesh.
    IstioMutual,
    /// What `tls` routes lead to.
    Passthrough,
    /// What the server name itself says, `outbound_.PORT_.SUBSET_.HOST`.
    AutoPassthrough,
}

impl ServerTlsMode {
    /// Whether the gateway leaves the encryption to somebody behind it.
    #[must_use]
    pub fn passes_through(self) -> bool {
        matches!(self, Self::Passthrough | Self::AutoPassthrough)
    }
}

/// A certificate in files, by their paths at the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, PEM, leaf first.
    pub certificate: String,
    /// The key, PEM.
    pub key: String,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// Whatever is usual: 1.2 at least, 1.3 at most.
    #[default]
    Auto,
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}
