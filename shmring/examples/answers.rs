//! The other side: answers in capitals until the neighbour ends. See `questions.rs`.

use std::io;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut tx, mut rx) = shmring::on(io::stdin())?.split()?;
    while let Some(mut question) = rx.recv()? {
        tx.send(&question.to_vec().to_ascii_uppercase())?;
    }
    Ok(())
}
