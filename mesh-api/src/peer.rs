//! Who sent a gRPC request.

use mesh_identity::SpiffeId;
use tonic::{Request, Status};

/// The identity in the certificate with which the request came.
///
/// # Errors
///
/// `UNAUTHENTICATED` if there is none. The TLS configuration demands one, so that this is the second lock
/// of the door.
pub(crate) fn verified_peer<T>(request: &Request<T>) -> Result<SpiffeId, Status> {
    mesh_identity::grpc::peer(request)
        .and_then(|peer| peer.id.clone())
        .ok_or_else(|| Status::unauthenticated("a client certificate of this mesh is needed"))
}
