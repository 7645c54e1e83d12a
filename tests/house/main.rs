//! The house is in order: what may depend on what, how large a file
//! may be, and that each document is found.

mod characters;
mod circles;
mod crates;
mod documents;
mod files;
mod mutants;
