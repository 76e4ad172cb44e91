//! The identity of somebody else, whose state directory is theirs to change while root looks at it.

use std::io;

use zeroize::Zeroizing;

use super::Error;
use super::store::{DIRECTORY, FILE, Store};
use crate::disk::Directory;
use crate::svid::Svid;

/// The certificate kept in a state directory, whether it is still good or not; none, if nothing was kept.
/// Nothing is made or changed, and no link followed.
///
/// # Errors
/// [`Error::Corrupt`] if what is there is no identity, [`Error::State`] if it cannot be read.
pub fn kept_svid(state_dir: &Directory) -> Result<Option<Svid>, Error> {
    let store = Store::at(state_dir.path());
    let bytes = state_dir
        .directory(DIRECTORY)
        .and_then(|directory| directory.read(FILE));
    match bytes.map(Zeroizing::new) {
        Ok(bytes) => Ok(Some(store.parse(&bytes)?.svid)),
        Err(cause) => match cause.kind() {
            io::ErrorKind::NotFound => Ok(None),
            // A link, a pipe: no daemon has made that.
            io::ErrorKind::NotADirectory | io::ErrorKind::InvalidData => Err(store.corrupt(cause)),
            _ => Err(Error::State {
                path: store.path().to_owned(),
                cause,
            }),
        },
    }
}

/// Deletes the identity kept in a state directory, if there is one, so that the next start joins anew.
///
/// # Errors
/// [`Error::State`] if it cannot be deleted.
pub fn forget(state_dir: &Directory) -> Result<(), Error> {
    let (removed, path) = match state_dir.directory(DIRECTORY) {
        Ok(directory) => (directory.remove(FILE), directory.path().join(FILE)),
        // Something else has its name: a link is deleted, and not what it leads to.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => (
            state_dir.remove(DIRECTORY),
            state_dir.path().join(DIRECTORY),
        ),
        Err(cause) => (Err(cause), state_dir.path().join(DIRECTORY)),
    };
    match removed {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(Error::State { path, cause }),
        _ => Ok(()),
    }
}
