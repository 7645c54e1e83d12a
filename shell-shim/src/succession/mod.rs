//! One function takes the place of another while frames flow (`stdpkt swap`), comes between
//! two (`stdpkt insert`), or goes away from there (`stdpkt remove`, `leave.rs`).
//!
//! | | the old function | `stdpkt swap` | the new function |
//! |---|---|---|---|
//! | 1 | gives copies of its standard input and output | starts CMD on them | |
//! | 2 | | | sets itself up, asks `swap` whether to go on |
//! | 3 | | moves `--state`, says yes | |
//! | 4 | sends what its interfaces have, hands its links over | | takes them: [`shmring::handover`] |
//! | 5 | keeps its place ([`place`]) or ends | ends | lives ([`heir`]) |
//!
//! Up to step 4 nothing has changed, whoever fails or is killed. The process that the
//! shell has started stays, and has nothing but its place: it passes signals on, and
//! ends with the status of the one that has the links. That one has a socket to it,
//! which it hands on in turn when it is swapped itself: there is never more than one
//! process that only keeps a place.
//!
//! To insert is the same, with a function that gives the links of one interface away and
//! lives on with another link ([`cable::insert`]). Whoever is put in has a pipe of its own on the
//! side to that function, and a copy of its pipe on the other.

pub mod answer;
pub mod heir;
pub mod insert;
mod leave;
mod link;
pub mod member;
mod newcomer;
pub mod place;
pub mod remove;
mod state;
pub mod swap;
