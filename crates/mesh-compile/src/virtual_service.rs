//! VirtualServices: for which proxies and hosts each one speaks.

use std::collections::{BTreeSet, HashMap};

use mesh_config::model::{
    HttpMatch, HttpRoute, MeshConfig, Metadata, Sticky, TcpRoute, TlsRoute, VirtualService as Spec,
};
use mesh_config::{Config, SharedObject, delegate, resolve_host};

use crate::client::Client;
use crate::host::HostMap;
use crate::visibility::Visibility;
use crate::workload::{Labels, has_labels};

/// The name by which a VirtualService binds to all sidecars.
pub(crate) const MESH: &str = "mesh";

/// All VirtualServices, indexed by what they bind to.
#[derive(Debug)]
pub(crate) struct VirtualServices {
    /// Oldest first.
    all: Vec<VirtualService>,
    /// By `namespace/name`, or [`MESH`]; oldest first.
    by_gateway: HashMap<String, Vec<usize>>,
    /// Those for sidecars, by host; oldest first.
    in_mesh: HostMap<Vec<usize>>,
}

/// One VirtualService with its names resolved.
#[derive(Debug)]
pub(crate) struct VirtualService {
    object: SharedObject,
    /// Lower case and fully qualified.
    pub(crate) hosts: Vec<String>,
    /// What it binds to as a whole.
    gateways: BTreeSet<String>,
    /// Namespaces that see it.
    export_to: Visibility,
    /// Its routes joined with those that it delegates to; `None` if it delegates nothing.
    joined: Option<Vec<HttpRoute>>,
}

impl VirtualServices {
    pub(crate) fn build(config: &Config, mesh: &MeshConfig) -> Self {
        let delegates: HashMap<(&str, &str), &Spec> = config
            .virtual_services()
            .filter(|(_, spec)| spec.hosts.is_empty())
            .map(|(object, spec)| {
                let Metadata {
                    namespace, name, ..
                } = &object.metadata;
                ((namespace.as_str(), name.as_str()), spec)
            })
            .collect();
        let mut all = Vec::new();
        let mut by_gateway: HashMap<String, Vec<usize>> = HashMap::new();
        let mut in_mesh = Vec::new();
        for (object, spec) in config.virtual_services() {
            let index = all.len();
            let namespace = &object.metadata.namespace;
            let resolve = |host: &String| resolve_host(host, namespace);
            let this = VirtualService {
                object: object.clone(),
                hosts: spec.hosts.iter().map(resolve).collect(),
                gateways: bindings(&spec.gateways, namespace),
                export_to: Visibility::new(
                    &spec.export_to,
                    namespace,
                    &mesh.default_virtual_service_export_to,
                ),
                joined: joined(spec, namespace, mesh, &delegates),
            };
            // The gateways of a match replace those of the whole, so they may be others.
            let http = this.http().iter().flat_map(|route| &route.matches);
            let tls = spec.tls.iter().flat_map(|route| &route.matches);
            let tcp = spec.tcp.iter().flat_map(|route| &route.matches);
            let own = (http.map(|entry| &entry.gateways))
                .chain(tls.map(|entry| &entry.layer4.gateways))
                .chain(tcp.map(|entry| &entry.gateways));
            let mut bound = this.gateways.clone();
            bound.extend(own.flat_map(|own| bindings(own, namespace)));
            if bound.contains(MESH) {
                in_mesh.extend(this.hosts.iter().map(|host| (host.clone(), index)));
            }
            for gateway in bound {
                by_gateway.entry(gateway).or_default().push(index);
            }
            all.push(this);
        }
        Self {
            all,
            by_gateway,
            in_mesh: HostMap::collect(in_mesh, Vec::push),
        }
    }

    /// Those that name a gateway (`namespace/name`, or [`MESH`]) somewhere, oldest first, each with its place
    /// in the order of age.
    pub(crate) fn of_gateway(
        &self,
        gateway: &str,
    ) -> impl Iterator<Item = (usize, &VirtualService)> {
        let indexes = self.by_gateway.get(gateway).into_iter().flatten();
        indexes.filter_map(|index| Some((*index, self.all.get(*index)?)))
    }

    /// The one that a sidecar follows for a host: of the most specific host, the oldest that `sees` lets it see. There is no merging as on gateways.
    pub(crate) fn in_mesh(
        &self,
        host: &str,
        sees: impl Fn(&VirtualService) -> bool,
    ) -> Option<&VirtualService> {
        self.in_mesh
            .for_host(host)
            .flatten()
            .filter_map(|index| self.all.get(*index))
            .find(|this| sees(this))
    }

    /// All that speak for a host to sidecars: those of the most specific host first, and of these the oldest.
    pub(crate) fn all_in_mesh<'a>(
        &'a self,
        host: &'a str,
    ) -> impl Iterator<Item = &'a VirtualService> {
        let indexes = self.in_mesh.for_host(host).flatten();
        indexes.filter_map(|index| self.all.get(*index))
    }

    /// The keys of the labels of proxies that some match asks for.
    pub(crate) fn client_labels(&self) -> impl Iterator<Item = &String> {
        self.all.iter().flat_map(|this| {
            let http = this.http().iter().flat_map(|route| &route.matches);
            let tls = this.tls().iter().flat_map(|route| &route.matches);
            let tcp = this.tcp().iter().flat_map(|route| &route.matches);
            (http.map(|entry| &entry.source_labels))
                .chain(tls.map(|entry| &entry.layer4.source_labels))
                .chain(tcp.map(|entry| &entry.source_labels))
                .flat_map(Labels::keys)
        })
    }
}

impl VirtualService {
    /// Whether proxies of a namespace see it.
    pub(crate) fn is_visible_in(&self, namespace: &str) -> bool {
        self.export_to.includes(namespace)
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.object.metadata.namespace
    }

    pub(crate) fn http(&self) -> &[HttpRoute] {
        if let Some(joined) = &self.joined {
            return joined;
        }
        let spec = self.object.as_virtual_service();
        spec.map_or(&[], |spec| &spec.http)
    }

    /// The cookie by which clients stay where they are, if they are to.
    pub(crate) fn sticky(&self) -> Option<&Sticky> {
        self.object.as_virtual_service()?.sticky.as_ref()
    }

    /// Its routes of TLS that is not terminated.
    pub(crate) fn tls(&self) -> &[TlsRoute] {
        let spec = self.object.as_virtual_service();
        spec.map_or(&[], |spec| &spec.tls)
    }

    /// Its routes of connections.
    pub(crate) fn tcp(&self) -> &[TcpRoute] {
        let spec = self.object.as_virtual_service();
        spec.map_or(&[], |spec| &spec.tcp)
    }

    /// `VirtualService default/reviews`
    pub(crate) fn title(&self) -> String {
        self.object.key().to_string()
    }

    /// Whether any route is meant for this client at this gateway and port, even if it asks for something that is not
    /// supported: then requests that it does not match must not fall through to a default.
    pub(crate) fn speaks_for(&self, gateway: &str, client: &Client, port: u16) -> bool {
        self.http().iter().any(|route| {
            let matches = route.matches.iter();
            let always = route.matches.is_empty() && self.binds_whole(gateway);
            let mut binds = matches.map(|entry| self.binds(entry, gateway, client, port));
            always || binds.any(|binds| binds)
        })
    }

    /// Whether a condition is meant for this gateway, whose own list of gateways replaces that of the whole.
    pub(crate) fn binds_by(&self, own: &[String], gateway: &str) -> bool {
        if own.is_empty() {
            self.binds_whole(gateway)
        } else {
            bindings(own, self.namespace()).contains(gateway)
        }
    }

    /// Whether this entry of a route is meant for this client at this gateway and port. Where it names gateways, nobody
    /// asks whose workload the client is.
    pub(crate) fn binds(
        &self,
        entry: &HttpMatch,
        gateway: &str,
        client: &Client,
        port: u16,
    ) -> bool {
        if entry.port.is_some_and(|asked| asked != port) {
            return false;
        }
        if !entry.gateways.is_empty() {
            return bindings(&entry.gateways, self.namespace()).contains(gateway);
        }
        let namespace = entry.source_namespace.as_ref();
        self.binds_whole(gateway)
            && has_labels(&client.labels, &entry.source_labels)
            && namespace.is_none_or(|namespace| *namespace == client.namespace)
    }

    /// Whether what has no match of its own is meant for this gateway.
    pub(crate) fn binds_whole(&self, gateway: &str) -> bool {
        self.gateways.contains(gateway)
    }
}

/// The routes of a VirtualService that leaves some to others. What it leaves to one that does not exist, or that
/// cannot be seen from its namespace, is left out.
fn joined(
    spec: &Spec,
    namespace: &str,
    mesh: &MeshConfig,
    delegates: &HashMap<(&str, &str), &Spec>,
) -> Option<Vec<HttpRoute>> {
    if spec.http.iter().all(|route| route.delegate.is_none()) {
        return None;
    }
    let mut joined = Vec::new();
    for route in &spec.http {
        let Some(to) = &route.delegate else {
            joined.push(route.clone());
            continue;
        };
        let of = to.namespace.as_deref().unwrap_or(namespace);
        let Some(delegate) = delegates.get(&(of, to.name.as_str())) else {
            continue;
        };
        let otherwise = &mesh.default_virtual_service_export_to;
        if Visibility::new(&delegate.export_to, of, otherwise).includes(namespace) {
            joined.extend(delegate::join(route, &delegate.http, of).routes);
        }
    }
    Some(joined)
}

/// `name` is of the VirtualService's own namespace.
fn bindings(written: &[String], namespace: &str) -> BTreeSet<String> {
    written
        .iter()
        .map(|name| {
            if name == MESH || name.contains('/') {
                name.clone()
            } else {
                format!("{namespace}/{name}")
            }
        })
        .collect()
}
