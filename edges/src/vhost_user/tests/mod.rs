//! The back end against a front end of ours.

mod front_end;
pub mod fuzz;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod orderly;
