//! A directory that is held open, for root's work in it while its owner, who may be up to no good, can change
//! it at any time.
//!
//! Everything in it is reached by the handle, no link is followed, and nothing but a plain file of a sensible
//! length is read: so nobody makes root read, give away, write or delete something elsewhere, or wait forever.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

/// Of a file that is read. An identity has a few thousand bytes.
const LONGEST: u64 = 1 << 20;

/// An open directory, and the path by which it was opened, for messages.
#[derive(Debug)]
pub struct Directory {
    handle: File,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotADirectory`] if it is a link or anything else; if it is missing or may not be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits();
        let handle = OpenOptions::new()
            .read(true)
            .custom_flags(flags.cast_signed())
            .open(path)?;
        Ok(Self {
            handle,
            path: path.to_owned(),
        })
    }

    /// Opens a directory in it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn directory(&self, name: &str) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        Ok(Self {
            handle: self.file(name, flags)?,
            path: self.path.join(name),
        })
    }

    /// The path by which it was opened. It may lead elsewhere by now.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its owner and mode.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.handle.metadata()
    }

    /// Sets its mode.
    ///
    /// # Errors
    /// If it is not ours to change.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.handle.set_permissions(Permissions::from_mode(mode))
    }

    /// Gives it to a user and a group, as numbers; what is not said stays.
    ///
    /// # Errors
    /// If it is not ours to give.
    pub fn give(&self, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
        fchown(&self.handle, user, group)
    }

    /// Reads a file in it.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if it is a link, no plain file, or longer than 1 MiB; if it is missing or
    /// may not be read.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        // Without NONBLOCK, opening a pipe would wait for somebody to write into it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = self.file(name, flags).map_err(|error| match error {
            error if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                wrong("it is a link")
            }
            error => error,
        })?;
        if !file.metadata()?.is_file() {
            return Err(wrong("it is no plain file"));
        }
        let mut bytes = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LONGEST {
            return Err(wrong("it is longer than 1 MiB"));
        }
        Ok(bytes)
    }

    /// Writes a file of mode 0600 in it, replacing what was there in one step. What root makes belongs to the
    /// directory's owner.
    ///
    /// # Errors
    /// If it is full or may not be written, or a directory has the file's name.
    pub fn write_private(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let staged = format!(".new-{:016x}", fastrand::u64(..));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let written = self
            .file(&staged, flags)
            .and_then(|file| self.fill(file, bytes))
            .and_then(|()| Ok(renameat(&self.handle, &staged, &self.handle, name)?))
            .and_then(|()| self.handle.sync_all());
        if written.is_err() {
            // What failed says more than that this failed too.
            let _ = self.remove(&staged);
        }
        written
    }

    fn fill(&self, mut file: File, bytes: &[u8]) -> io::Result<()> {
        if let Some((user, group)) = super::owner_to_follow(&self.metadata()?, &file.metadata()?) {
            fchown(&file, Some(user), Some(group))?;
        }
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// Deletes a file in it, or a link itself.
    ///
    /// # Errors
    /// If it is missing or may not be deleted, or is a directory.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.handle, name, AtFlags::empty())?)
    }

    fn file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(openat(&self.handle, name, flags | OFlags::CLOEXEC, mode)?.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    #[test]
    fn links_are_not_followed_and_only_plain_files_are_read() {
        let root = tempfile::tempdir().expect("a directory");
        let elsewhere = root.path().join("elsewhere");
        fs::create_dir(&elsewhere).expect("made");
        fs::write(elsewhere.join("key"), "key").expect("written");
        let place = root.path().join("place");
        fs::create_dir(&place).expect("made");
        symlink(&elsewhere, place.join("directory")).expect("linked");
        symlink(elsewhere.join("key"), place.join("key")).expect("linked");
        fs::write(place.join("long"), vec![b'x'; (1 << 20) + 1]).expect("written");
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, place.join("pipe"), FileType::Fifo, mode, 0).expect("a pipe");

        let open = Directory::open(&place).expect("a directory");
        let kind = |result: io::Result<_>| result.map(|_: Vec<u8>| ()).expect_err("refused").kind();
        for name in ["pipe", "long", "key", "directory"] {
            assert_eq!(kind(open.read(name)), io::ErrorKind::InvalidData, "{name}");
        }
        assert_eq!(kind(open.read("missing")), io::ErrorKind::NotFound);
        for link in [
            open.directory("directory"),
            Directory::open(&place.join("directory")),
        ] {
            let error = link.expect_err("a link");
            assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        }
        open.write_private("key", b"new").expect("replaced");
        open.remove("directory").expect("the link is gone");
        assert_eq!(open.read("key").expect("ours"), b"new");
        assert_eq!(fs::read(elsewhere.join("key")).expect("there"), b"key");
    }

    #[test]
    fn what_was_opened_is_worked_on_wherever_its_path_leads_by_now() {
        let root = tempfile::tempdir().expect("a directory");
        let (place, moved) = (root.path().join("place"), root.path().join("moved"));
        fs::create_dir(&place).expect("made");
        let open = Directory::open(&place).expect("a directory");
        fs::rename(&place, &moved).expect("moved");
        fs::create_dir(&place).expect("another");
        open.write_private("file", b"x").expect("written");
        open.set_mode(0o700).expect("ours");
        let mode = fs::metadata(moved.join("file"))
            .expect("there")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&moved).expect("a list").count(), 1);
        assert_eq!(fs::read_dir(&place).expect("a list").count(), 0);
        // A directory has the file's name: nothing is left beside it.
        fs::create_dir(moved.join("taken")).expect("made");
        open.write_private("taken", b"x").expect_err("a directory");
        assert_eq!(fs::read_dir(&moved).expect("a list").count(), 2);
    }
}
