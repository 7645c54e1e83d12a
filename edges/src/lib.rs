//! What a cable can be plugged into, a file for each kind. See [`cable::Edge`].

pub mod tap;
