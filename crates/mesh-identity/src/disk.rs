//! Files that nobody else may read and that are never half written.
//!
//! A reader sees the old content or the new one, also after a crash: the bytes go to a temporary
//! file beside the target, reach the disk, and then take the target's name in one step.
//!
//! What root makes in somebody else's directory belongs to the directory's owner, who could not read it
//! otherwise. How root works in a directory whose owner it does not trust is in `directory.rs`.

mod directory;

use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::Path;

pub use self::directory::Directory;

use tempfile::NamedTempFile;

/// Writes a file of mode 0600, replacing what was there in one step.
///
/// # Errors
/// If the directory is missing or full, or may not be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = directory_of(path);
    staged(directory, bytes)?
        .persist(path)
        .map_err(|error| error.error)?;
    sync_directory(directory)
}

/// Writes a file of mode 0600 that did not exist before. Of several that try at once, one wins.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if there is such a file, whole; else as [`write_private`].
pub fn create_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = directory_of(path);
    staged(directory, bytes)?
        .persist_noclobber(path)
        .map_err(|error| error.error)?;
    sync_directory(directory)
}

/// Makes a directory of mode 0700, with its parents. One that exists is left as it is, with a warning if
/// others may look into it.
///
/// # Errors
/// If it cannot be made, or something else has its name.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    let is_new = !path.exists();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if is_new {
        // By its handle: the owner of the directory around it may have put something else there by now.
        let made = Directory::open(path)?;
        let around = directory_of(path).metadata()?;
        if let Some((user, group)) = owner_to_follow(&around, &made.metadata()?) {
            made.give(Some(user), Some(group))?;
        }
    }
    if let Some(mode) = open_to_others(path)? {
        tracing::warn!(
            path = %path.display(),
            mode = format_args!("{mode:04o}"),
            "others may look into a private directory; run: chmod 700 {}",
            path.display()
        );
    }
    Ok(())
}

/// Warns of a private file that others may read or write. One that cannot be looked at is no matter here:
/// reading it will tell.
pub fn warn_if_open_to_others(path: &Path) {
    if let Ok(Some(mode)) = open_to_others(path) {
        tracing::warn!(
            path = %path.display(),
            mode = format_args!("{mode:04o}"),
            "others may read or write a private file; run: chmod 600 {}",
            path.display()
        );
    }
}

/// The mode of a path, if it gives anything to anybody but the owner.
fn open_to_others(path: &Path) -> io::Result<Option<u32>> {
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

/// The bytes in a temporary file (which the library makes with mode 0600), safe on the disk.
fn staged(directory: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(directory)?;
    if let Some((user, group)) =
        owner_to_follow(&directory.metadata()?, &file.as_file().metadata()?)
    {
        fchown(file.as_file(), Some(user), Some(group))?;
    }
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// User and group of a directory, if something that root made in it has to become theirs.
fn owner_to_follow(directory: &Metadata, made: &Metadata) -> Option<(u32, u32)> {
    let follows = made.uid() == 0 && directory.uid() != 0;
    follows.then(|| (directory.uid(), directory.gid()))
}

/// Waits until what was made, renamed or deleted in a directory is on the disk.
///
/// # Errors
/// If the directory is gone or the disk fails.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::chown;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path)
            .expect("metadata")
            .permissions()
            .mode()
            & 0o777
    }

    #[test]
    fn files_and_directories_are_private_and_replaced_whole() {
        let root = tempfile::tempdir().expect("temporary directory");
        let directory = root.path().join("a/b");
        create_private_dir(&directory).expect("directory");
        create_private_dir(&directory).expect("directory again");
        assert_eq!(
            (mode(&directory), mode(&root.path().join("a"))),
            (0o700, 0o700)
        );
        let file = directory.join("key");
        write_private(&file, b"long first content").expect("first");
        write_private(&file, b"second").expect("second");
        assert_eq!(std::fs::read(&file).expect("read"), b"second");
        assert_eq!(mode(&file), 0o600);
        let left: Vec<_> = std::fs::read_dir(&directory).expect("list").collect();
        assert_eq!(left.len(), 1, "no temporary file stays behind");
    }

    #[test]
    fn what_is_open_to_others_is_noticed_and_left_alone() {
        let root = tempfile::tempdir().expect("temporary directory");
        let directory = root.path().join("state");
        create_private_dir(&directory).expect("directory");
        let file = directory.join("key");
        write_private(&file, b"key").expect("file");
        for path in [&directory, &file] {
            assert_eq!(open_to_others(path).expect("mode"), None);
        }
        for (path, open) in [(&directory, 0o750), (&file, 0o604)] {
            std::fs::set_permissions(path, Permissions::from_mode(open)).expect("owner");
            assert_eq!(open_to_others(path).expect("mode"), Some(open));
        }
        create_private_dir(&directory).expect("it is there");
        assert_eq!(mode(&directory), 0o750, "it is the owner's to change");
    }

    #[test]
    fn what_root_makes_in_a_directory_belongs_to_its_owner() {
        let root = tempfile::tempdir().expect("temporary directory");
        let own = root.path().metadata().expect("metadata");
        let (user, group) = match chown(root.path(), Some(65532), Some(65533)) {
            Ok(()) => (65532, 65533),
            // Not root: then nothing is given away, and everything stays ours.
            Err(_) => (own.uid(), own.gid()),
        };
        let (file, directory) = (root.path().join("file"), root.path().join("directory"));
        let within = directory.join("file");
        create_private(&file, b"x").expect("made");
        write_private(&file, b"y").expect("replaced");
        create_private_dir(&directory).expect("made");
        create_private(&within, b"x").expect("made");
        for path in [&file, &directory, &within] {
            let data = path.metadata().expect("metadata");
            assert_eq!((data.uid(), data.gid()), (user, group), "{path:?}");
        }
        assert_eq!((mode(&file), mode(&directory)), (0o600, 0o700));
    }

    #[test]
    fn of_many_that_create_one_wins() {
        let root = tempfile::tempdir().expect("temporary directory");
        let file = root.path().join("root");
        let won: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|n| {
                    let file = &file;
                    scope.spawn(move || create_private(file, &[n as u8; 4096]).map(|()| n))
                })
                .collect();
            threads
                .into_iter()
                .filter_map(|t| t.join().expect("thread").ok())
                .collect()
        });
        let [winner] = won[..] else {
            panic!("{won:?} all won")
        };
        assert_eq!(
            std::fs::read(&file).expect("read"),
            vec![winner as u8; 4096]
        );
        let error = create_private(&file, b"late").expect_err("exists");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let root = tempfile::tempdir().expect("temporary directory");
        let error = write_private(&root.path().join("no/such"), b"x").expect_err("missing");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
