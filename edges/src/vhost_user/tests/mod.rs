//! The back end against a front end of ours.

mod front_end;
mod hostile;
mod orderly;
