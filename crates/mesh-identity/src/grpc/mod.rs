//! gRPC over our own rustls: channels to a known identity, and a server's stream of connections
//! that know their peer.
//!
//! tonic's TLS options check DNS names and read certificates once; ours check SPIFFE identities
//! and follow rotation, so tonic is given finished connections (`channel.rs`, `incoming.rs`). A
//! server ends each with the certificate that opened it (`proof.rs`): who goes on has to open
//! another one in time.

mod channel;
mod incoming;
mod proof;

pub use channel::{ConnectError, channel, connect};
pub use incoming::{Connection, PeerInfo, incoming, peer};

#[cfg(test)]
mod tests;
