//! What a cable can be plugged into, a file for each kind. See [`cable::Edge`].

mod backlog;
pub mod codec;
pub mod flow;
mod gathering;
mod guests;
pub mod inherited;
mod joining;
mod matching;
pub mod messages;
mod patience;
pub mod program;
mod round;
mod shown;
pub mod spec;
pub mod stream;
pub mod tap;
pub mod unix;
pub mod vhost_user;
