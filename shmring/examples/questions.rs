//! One side of a pair: asks, and prints the answers.
//!
//!     cargo run --example questions | cargo run --example answers
//!
//! Standard output is the link, so what is for people goes to standard error.
#![allow(clippy::disallowed_macros, reason = "an example takes what every program has")]

use std::io;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut link = shmring::on(io::stdout())?;
    for question in ["one", "two", "three"] {
        link.send(question.as_bytes())?;
        let Some(mut answer) = link.recv()? else { break };
        eprintln!("{question}: {}", String::from_utf8_lossy(&answer.to_vec()));
    }
    Ok(())
}
