//! Starting with what is on disk.
