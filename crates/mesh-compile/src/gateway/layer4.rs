//! Servers whose bytes nobody looks into: TCP, TLS that is terminated here and then TCP, and TLS that is passed
//! through.

use std::collections::BTreeSet;

use mesh_config::servers::ServerRef;
use mesh_xds::envoy::listener::FilterChain;
use mesh_xds::names;

use super::{Edge, Gateway, open_to};
use crate::host::intersection;
use crate::listener::tcp_chain;
use crate::route::ClusterRef;
use crate::tcp_route;
use crate::virtual_service::VirtualService;

impl<'a> Edge<'a> {
    /// The chain of a server, by the `tcp` routes of the oldest VirtualService that has some for it.
    pub(super) fn tcp(&mut self, server: &ServerRef<'_>) -> Option<FilterChain> {
        let gateway = self.gateway(server);
        let port = server.server.port.number;
        let to = self
            .bound_to(gateway, server)
            .into_iter()
            .find_map(|(bound, _)| {
                tcp_route::at_gateway(&mut self.router, bound, &gateway.name, port)
            })?;
        let name = format!("tcp.{port}.{}", gateway.name);
        Some(self.router.tcp_chain(&name, to))
    }

    /// A chain for each `tls` route that leads through a server.
    pub(super) fn passthrough(
        &mut self,
        server: &ServerRef<'_>,
    ) -> Vec<(FilterChain, Vec<String>)> {
        let gateway = self.gateway(server);
        let port = server.server.port.number;
        let mut chains = Vec::new();
        for (bound, hosts) in self.bound_to(gateway, server) {
            for route in tcp_route::by_server_name(&mut self.router, bound, &gateway.name, port) {
                let names: BTreeSet<String> = route
                    .names
                    .iter()
                    .flat_map(|name| hosts.iter().filter_map(|host| intersection(host, name)))
                    .map(str::to_owned)
                    .collect();
                let name = format!("tls.{port}.{}", gateway.name);
                let chain = self.router.tcp_chain(&name, route.to);
                chains.push((chain, names.into_iter().collect()));
            }
        }
        chains
    }

    /// A chain for each service and subset under a server's hosts: the server name is that of the cluster, as
    /// proxies of the mesh ask for it.
    pub(super) fn auto_passthrough(
        &mut self,
        server: &ServerRef<'_>,
    ) -> Vec<(FilterChain, Vec<String>)> {
        let mesh = self.mesh;
        let gateway = self.gateway(server);
        let mut chains = Vec::new();
        for service in mesh.services.values() {
            let hosts = server.server.hosts.iter();
            let mut hosts = hosts.filter_map(|host| open_to(gateway, host, &service.namespace));
            if !hosts.any(|host| crate::host::covers(host, &service.host)) {
                continue;
            }
            let root = &mesh.settings.root_namespace;
            let rule = mesh.destination_rules.choose(self.client, service, root);
            let subsets = rule.into_iter().flat_map(|rule| rule.subsets.keys());
            let subsets: Vec<_> = subsets.map(Some).chain([None]).collect();
            for port in &service.ports {
                for subset in &subsets {
                    let subset = subset.map(String::as_str);
                    let sni = names::sni(port.number, subset, &service.host);
                    self.passed_on.insert(ClusterRef {
                        host: service.host.clone(),
                        port: port.number,
                        subset: subset.map(str::to_owned),
                    });
                    let chain = tcp_chain(&sni, &sni);
                    chains.push((chain, vec![sni]));
                }
            }
        }
        chains
    }

    /// The VirtualServices that bind to a server, oldest first, each with the hosts of the server that are open
    /// to it.
    fn bound_to<'s>(
        &self,
        gateway: &'a Gateway,
        server: &ServerRef<'s>,
    ) -> Vec<(&'a VirtualService, Vec<&'s str>)> {
        let mesh = self.mesh;
        let bound = mesh.virtual_services.of_gateway(&gateway.name);
        bound
            .filter(|(_, bound)| bound.is_visible_in(&gateway.namespace))
            .filter_map(|(_, bound)| {
                let hosts = server.server.hosts.iter();
                let hosts: Vec<&str> = hosts
                    .filter_map(|host| open_to(gateway, host, bound.namespace()))
                    .filter(|host| {
                        bound
                            .hosts
                            .iter()
                            .any(|own| intersection(host, own).is_some())
                    })
                    .collect();
                (!hosts.is_empty()).then_some((bound, hosts))
            })
            .collect()
    }
}
