//! The Gateway API: its objects judged, and turned into what Istio's own objects say.
//!
//! `scope` finds the Gateways that are ours with their listeners, `attach` the routes of each listener,
//! `backend` where they send requests, `rule` turns their rules into routes and `order` says which one comes
//! first; `bytes` does the same for routes of connections. `convert` makes Gateways and VirtualServices of all that, as Istio does, so that the rest of the crate
//! needs not know where they came from. `status` tells users about the same judgements.

mod attach;
mod backend;
mod bytes;
mod convert;
mod order;
mod rule;
mod scope;
mod status;

use mesh_config::model::gateway_api::{Kind, Spec};
use mesh_config::{Config, Kind as AnyKind, SharedObject};

pub use status::Statuses;

/// The configuration with the Gateway API's objects said in Istio's words as well.
pub(crate) fn expand(config: &Config) -> Config {
    let is_used = |kind| objects(config, kind).next().is_some();
    if !is_used(Kind::Gateway) && !Kind::ROUTES.into_iter().any(is_used) {
        return config.clone();
    }
    let api = attach::Api::build(config);
    let mut expanded = config.clone();
    expanded.extend(convert::objects(&api));
    expanded
}

/// The objects of one kind, oldest first; those of one age by namespace and name.
fn objects(config: &Config, kind: Kind) -> impl Iterator<Item = (&SharedObject, &Spec)> {
    let mut objects: Vec<_> = config
        .of_kind(AnyKind::GatewayApi(kind))
        .filter_map(|object| Some((object, object.as_gateway_api()?)))
        .collect();
    objects.sort_by_key(|(object, _)| {
        let time = object.metadata.creation_timestamp.as_deref();
        (time.is_none(), time)
    });
    objects.into_iter()
}

/// Why something is not as it was asked for: the API's word for it, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) word: &'static str,
    pub(crate) text: String,
}

impl Reason {
    fn new(word: &'static str, text: impl Into<String>) -> Self {
        Self {
            word,
            text: text.into(),
        }
    }
}
