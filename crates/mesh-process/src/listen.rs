//! Binding sockets so that a failure names the flag to change, and telling others what was bound.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use tokio::net::TcpListener;

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({flag}): {reason}; {way_out}")]
pub struct BindError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// The flag that named it.
    pub flag: &'static str,
    /// What to do.
    way_out: &'static str,
    /// The system's reason: a part of the sentence, and so no cause that is told after it.
    pub reason: io::Error,
}

impl BindError {
    /// Wraps the system's reason with the way out of it.
    #[must_use]
    pub fn new(flag: &'static str, address: SocketAddr, reason: io::Error) -> Self {
        let way_out = match reason.kind() {
            io::ErrorKind::AddrInUse => {
                "stop the process that has it, or choose another port (0 takes a free one)"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need privileges: choose a higher one"
            }
            io::ErrorKind::AddrNotAvailable => "choose an address that this machine has",
            _ => "choose another address",
        };
        Self {
            address,
            flag,
            way_out,
            reason,
        }
    }
}

/// Listens on `address`, which came from `flag` (with its dashes).
///
/// # Errors
///
/// [`BindError`], in words for the user.
pub async fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address)
        .await
        .map_err(|reason| BindError::new(flag, address, reason))
}

/// Writes what was bound to `--addresses-file`, if it was given: JSON of purpose to `host:port`,
/// replaced in one step, so that a reader sees all of it or nothing.
///
/// # Errors
///
/// The system's reason, with the file's name in it.
pub fn write_addresses(
    file: Option<&Path>,
    addresses: &BTreeMap<&str, SocketAddr>,
) -> io::Result<()> {
    let Some(file) = file else { return Ok(()) };
    let named = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("cannot write the addresses to {}: {error}", file.display()),
        )
    };
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let json = serde_json::to_vec_pretty(addresses).map_err(io::Error::other)?;
    let mut temporary = tempfile::NamedTempFile::new_in(directory).map_err(named)?;
    temporary.write_all(&json).map_err(named)?;
    temporary
        .persist(file)
        .map_err(|error| named(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_port_is_named_with_its_flag_and_the_way_out() {
        let taken = bind("--listen", ([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind("--listen-xds", address).await.unwrap_err();
        let error = format!("{:#}", anyhow::Error::new(error));
        assert!(error.contains(&address.to_string()), "{error}");
        assert!(error.contains("--listen-xds"), "{error}");
        assert!(error.contains("choose another port"), "{error}");
        assert_eq!(error.matches("os error").count(), 1, "{error}");
    }

    #[test]
    fn addresses_are_written_whole() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("addresses.json");
        let addresses = BTreeMap::from([("xds", SocketAddr::from(([127, 0, 0, 1], 15012)))]);
        write_addresses(Some(&file), &addresses).unwrap();
        let read: BTreeMap<String, String> =
            serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!(read["xds"], "127.0.0.1:15012");
        assert!(write_addresses(None, &addresses).is_ok());
    }
}
