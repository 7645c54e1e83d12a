//! The `stdpkt` command.
