//! The house is in order: what may depend on what, and how large a file may be.

mod characters;
mod circles;
mod crates;
mod files;
mod mutants;
