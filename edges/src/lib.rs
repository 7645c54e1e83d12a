//! What a cable can be plugged into, a file for each kind. See [`cable::Edge`].

mod codec;
pub mod messages;
mod patience;
pub mod stream;
pub mod tap;
pub mod unix;
