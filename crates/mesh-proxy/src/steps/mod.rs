//! What is done with a request on its way, one plain function a step, in the order of
//! `pipeline.rs`.

pub(crate) mod cors;
pub(crate) mod edit;
pub(crate) mod fault;
pub(crate) mod hash;
pub(crate) mod headers;
pub(crate) mod intake;
pub(crate) mod mirror;
pub(crate) mod path;
pub(crate) mod retry;
pub(crate) mod rewrite;
pub mod route;
pub(crate) mod split;
pub(crate) mod timeout;
pub(crate) mod translate;
