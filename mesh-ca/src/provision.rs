//! Join tokens where workloads look for them: one in the state directory of each that needs one.
//!
//! For a one-shot job that runs before the workloads start, and may run again at any time: a workload that
//! can prove its identity is left alone, and so is a token that is still good. It runs as root where the
//! directories have other owners; what it makes belongs to them. They may change their directories at any time,
//! also to harm others, so each is worked on by its handle, and no link in it followed.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use mesh_identity::client::{self, JoinToken};
use mesh_identity::disk::{self, Directory};
use mesh_identity::{BundleError, SpiffeId, TrustBundle, TrustDomain};

use crate::root::Root;
use crate::token::{self, TokenError, Tokens};

/// How long such a token can be used, unless the user says otherwise: images may have to be pulled and other
/// services to become healthy before a workload gets to use it.
pub const DEFAULT_TTL: Duration = Duration::from_secs(3600);
/// The token's file in a state directory.
pub const FILE: &str = "join-token";
/// A certificate that ends sooner may not last until its workload has started.
const SOON: Duration = Duration::from_secs(600);

/// A workload and its state directory, written `NAMESPACE/SERVICE_ACCOUNT=DIR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    namespace: String,
    service_account: String,
    state_dir: PathBuf,
}

/// Who gets the directories, written `UID` or `UID:GID`. Without a group they keep theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    user: u32,
    group: Option<u32>,
}

/// What was done for a workload; its `Display` is one line.
#[derive(Debug, PartialEq, Eq)]
pub enum Done {
    /// Nothing: it has a certificate of this mesh.
    Joined {
        /// Until when.
        until: SystemTime,
    },
    /// A token lies there.
    Invited {
        /// Its file.
        file: PathBuf,
        /// Until when it can be used, if it was made now; else it lay there already.
        made_until: Option<SystemTime>,
        /// What is wrong with the identity there, if there is one.
        because: Option<String>,
    },
}

/// Leaves a token for `workload`, if it needs one, after its state directory got its owner.
///
/// An identity of another mesh or another workload, or a damaged one, is deleted then: its daemon would go on
/// with it, whatever token lies beside it.
///
/// # Errors
/// If there is no root yet, the identity is the authority's own, or a directory cannot be used.
pub fn leave_token(
    state_dir: &Path,
    trust_domain: Option<&TrustDomain>,
    workload: &Workload,
    owner: Option<Owner>,
    ttl: Duration,
) -> Result<Done, ProvisionError> {
    // There has to be a root, as of a running authority: one that we made could be of another owner.
    let root = Root::open(state_dir, trust_domain).map_err(TokenError::from)?;
    let now = SystemTime::now();
    let until = now.checked_add(ttl / 2).ok_or(TokenError::Ttl)?;
    let (namespace, account) = (&workload.namespace, &workload.service_account);
    let identity =
        SpiffeId::workload(root.trust_domain(), namespace, account).map_err(TokenError::from)?;
    let directory = prepare(&workload.state_dir, owner)?;

    let kept = look(&directory, &identity, &root, now)?;
    if let Kept::Good(until) = kept {
        return Ok(Done::Joined { until });
    }
    let file = workload.state_dir.join(FILE);
    let made_until = if is_good_token(&directory, state_dir, &identity, &root, until)? {
        None
    } else {
        let created = token::create(state_dir, trust_domain, namespace, account, ttl)?;
        let content = created.to_json();
        directory
            .write_private(FILE, content.as_bytes())
            .map_err(used(&file))?;
        Some(created.expires_at)
    };
    let because = match kept {
        Kept::Good(_) | Kept::None => None,
        Kept::Ending(reason) => Some(reason),
        Kept::Useless(reason) => {
            // After the token is there, so that a crash never leaves a workload with neither.
            client::forget(&directory)?;
            Some(format!("{reason} and was deleted"))
        }
    };
    Ok(Done::Invited {
        file,
        made_until,
        because,
    })
}

/// The identity in a state directory.
enum Kept {
    None,
    Good(SystemTime),
    /// It needs a token soon, or already; its daemon sees that by itself.
    Ending(String),
    /// Its daemon would not get anywhere with it.
    Useless(String),
}

fn look(
    directory: &Directory,
    identity: &SpiffeId,
    root: &Root,
    now: SystemTime,
) -> Result<Kept, ProvisionError> {
    let svid = match client::kept_svid(directory) {
        Ok(Some(svid)) => svid,
        Ok(None) => return Ok(Kept::None),
        Err(client::Error::Corrupt { .. }) => {
            return Ok(Kept::Useless("the identity there was damaged".to_owned()));
        }
        Err(error) => return Err(error.into()),
    };
    if svid.id != *identity {
        let reason = format!("the identity there was that of {}", svid.id.as_str());
        return Ok(Kept::Useless(reason));
    }
    let bundle = TrustBundle::from_der([root.certificate().clone()])?;
    // At a time when it was valid, if it ever was: the present is the next question.
    if svid.verify(&bundle, svid.not_before).is_err() {
        let reason = "the identity there was not of this mesh's present root".to_owned();
        return Ok(Kept::Useless(reason));
    }
    if svid.not_after > now + SOON {
        return Ok(Kept::Good(svid.not_after));
    }
    let verb = if svid.not_after > now {
        "expires"
    } else {
        "expired"
    };
    let reason = format!("the identity there {verb} at {}", utc(svid.not_after));
    Ok(Kept::Ending(reason))
}

/// Whether the file has a token that nobody has used, for this identity and root, and good until `until`.
fn is_good_token(
    directory: &Directory,
    state_dir: &Path,
    identity: &SpiffeId,
    root: &Root,
    until: SystemTime,
) -> Result<bool, TokenError> {
    // Whatever else is in the file, or why ever it cannot be read: it is replaced.
    let text = directory.read(FILE).map(String::from_utf8);
    let Ok(Ok(text)) = text else { return Ok(false) };
    let Ok(invitation) = JoinToken::from(text).read() else {
        return Ok(false);
    };
    if invitation.ca_fingerprint != Some(root.fingerprint()) {
        return Ok(false);
    }
    match Tokens::open(state_dir)?.find(&invitation.token, until) {
        Ok(found) => Ok(found.identity == *identity),
        Err(error @ TokenError::Disk { .. }) => Err(error),
        Err(_) => Ok(false),
    }
}

/// Makes a state directory, or gives one that exists the owner and the mode that it has to have.
fn prepare(path: &Path, owner: Option<Owner>) -> Result<Directory, ProvisionError> {
    disk::create_private_dir(path).map_err(used(path))?;
    let directory = Directory::open(path).map_err(used(path))?;
    let Some(owner) = owner else {
        return Ok(directory);
    };
    let has = directory.metadata().map_err(used(path))?;
    // Mode before owner, and neither without need: so the fewest privileges do.
    if has.mode() & 0o777 != 0o700 {
        directory.set_mode(0o700).map_err(used(path))?;
    }
    if has.uid() != owner.user || owner.group.is_some_and(|group| has.gid() != group) {
        let given = directory.give(Some(owner.user), owner.group);
        given.map_err(|cause| ProvisionError::Owner {
            path: path.to_owned(),
            owner,
            cause,
        })?;
    }
    Ok(directory)
}

fn used(path: &Path) -> impl FnOnce(io::Error) -> ProvisionError {
    let path = path.to_owned();
    move |cause| ProvisionError::Disk { path, cause }
}

fn utc(time: SystemTime) -> impl fmt::Display {
    humantime::format_rfc3339_seconds(time)
}

impl Workload {
    /// Its state directory.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(name, directory)| {
            let (namespace, service_account) = name.split_once('/')?;
            (!directory.is_empty()).then_some((namespace, service_account, directory))
        });
        let (namespace, service_account, directory) = parts.ok_or(
            "write NAMESPACE/SERVICE_ACCOUNT=DIR, for example default/webapp=/var/lib/mesh/webapp",
        )?;
        let any = TrustDomain::new("check").expect("a valid name");
        SpiffeId::workload(&any, namespace, service_account).map_err(|error| error.to_string())?;
        Ok(Self {
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            state_dir: directory.into(),
        })
    }
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let wrong = "write UID or UID:GID as numbers, for example 65532 or 65532:65532";
            text.parse().map_err(|_| wrong.to_owned())
        };
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(number(group)?)),
            None => (text, None),
        };
        Ok(Self {
            user: number(user)?,
            group,
        })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.service_account)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            Some(group) => write!(f, "{}:{group}", self.user),
            None => write!(f, "{}", self.user),
        }
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined { until } => {
                write!(
                    f,
                    "has joined already, with a certificate until {}",
                    utc(*until)
                )
            }
            Self::Invited {
                file,
                made_until,
                because,
            } => {
                match made_until {
                    Some(until) => write!(f, "made {}, good until {}", file.display(), utc(*until)),
                    None => write!(f, "left {}, which is still good", file.display()),
                }?;
                match because {
                    Some(reason) => write!(f, "; {reason}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Why a workload got no token.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// It could not be made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// What is in its state directory cannot be read or deleted.
    #[error(transparent)]
    Identity(#[from] client::Error),
    /// The root cannot be used to verify with.
    #[error("the root cannot be used to verify with: {0}")]
    Root(#[from] BundleError),
    /// The state directory or the token's file cannot be written.
    #[error(
        "cannot use {path}: {cause}; name a directory in --to, not a link to one, that this user may write to"
    )]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Only root gives files away.
    #[error(
        "cannot give {path} to {owner}: {cause}; run this as root with CAP_CHOWN, or leave out --owner"
    )]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Who should have got it.
        owner: Owner,
        /// What the system says.
        cause: io::Error,
    },
}

#[cfg(test)]
mod tests;
