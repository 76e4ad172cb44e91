//! Exit codes of every program of the mesh, after BSD's `sysexits.h` where it has one.

/// Done.
pub const DONE: u8 = 0;
/// Failed for a reason that the message names.
pub const FAILED: u8 = 1;
/// The command line, the environment or the configuration file is wrong (`EX_USAGE`).
pub const USAGE: u8 = 64;
/// Input data is wrong (`EX_DATAERR`).
pub const DATA: u8 = 65;
/// What the program needs is out of reach: the config API, or the mesh (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// An analysis found something, as `istioctl analyze` says it.
pub const FINDINGS: u8 = 79;
