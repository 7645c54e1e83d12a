//! End to end: the `stdpkt` command in real shells, with real programs.
//!
//! Each test has a scene of its own: a directory, and a mark that all its processes
//! carry. What a test lacks it says on standard
//! error; with `STDPKT_TESTS_REQUIRE_ALL=1` lacking something is a failure.
//! `STDPKT_TESTS_BIN` names another `stdpkt` to test.

mod support;

mod activation;
mod all_at_once;
mod channels;
mod check;
mod descriptors;
mod door;
mod edges;
mod endings;
mod example_files;
mod examples;
mod exec;
mod fifos;
mod filters;
mod function_files;
mod goodput;
mod groups;
mod held;
mod idle;
mod insert;
mod isolation;
mod kills;
mod late;
mod links;
mod lkl;
mod lkl_looks;
mod lkl_swap;
mod ls;
mod many;
mod meeting;
mod metrics;
mod mistakes;
mod nat;
mod numbered;
mod on_demand;
mod one_way;
mod order;
mod property;
mod refusals;
mod refused_by_host;
mod restart;
mod restarts;
mod revive;
mod rows;
mod said;
mod sizes;
mod stories;
mod swap;
mod swap_kills;
mod swap_state;
mod talks;
mod terminals;
mod tutorial;
mod unprivileged;
mod veth;
mod vm;
