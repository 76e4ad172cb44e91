//! VirtualServices: for which proxies and hosts each one speaks.

use std::collections::{BTreeSet, HashMap};

use mesh_config::model::{HttpMatch, HttpRoute, MeshConfig};
use mesh_config::{Config, SharedObject, resolve_host};

use crate::host::HostMap;
use crate::visibility::Visibility;

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
}

impl VirtualServices {
    pub(crate) fn build(config: &Config, mesh: &MeshConfig) -> Self {
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
            };
            // The gateways of a match replace those of the whole, so they may be others.
            let matches = spec.http.iter().flat_map(|route| &route.matches);
            let mut bound = this.gateways.clone();
            bound.extend(matches.flat_map(|entry| bindings(&entry.gateways, namespace)));
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

    /// The one that sidecars follow for a host: of the most specific host, the oldest that has something to
    /// say and that `sees` lets it see. There is no merging as on gateways.
    pub(crate) fn in_mesh(
        &self,
        host: &str,
        sees: impl Fn(&VirtualService) -> bool,
    ) -> Option<&VirtualService> {
        self.in_mesh
            .for_host(host)
            .flatten()
            .filter_map(|index| self.all.get(*index))
            .find(|this| this.speaks_for(MESH) && sees(this))
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
        let spec = self.object.as_virtual_service();
        spec.map_or(&[], |spec| &spec.http)
    }

    /// `VirtualService default/reviews`
    pub(crate) fn title(&self) -> String {
        self.object.key().to_string()
    }

    /// Whether any route is meant for this gateway, even if it asks for something that is not supported: then
    /// requests that it does not match must not fall through to a default.
    pub(crate) fn speaks_for(&self, gateway: &str) -> bool {
        self.http().iter().any(|route| {
            let matches = route.matches.iter();
            let always = route.matches.is_empty() && self.gateways.contains(gateway);
            always || matches.into_iter().any(|entry| self.binds(entry, gateway))
        })
    }

    /// Whether this entry of a route is meant for this gateway.
    pub(crate) fn binds(&self, entry: &HttpMatch, gateway: &str) -> bool {
        if entry.gateways.is_empty() {
            self.binds_whole(gateway)
        } else {
            bindings(&entry.gateways, self.namespace()).contains(gateway)
        }
    }

    /// Whether what has no match of its own is meant for this gateway.
    pub(crate) fn binds_whole(&self, gateway: &str) -> bool {
        self.gateways.contains(gateway)
    }
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
