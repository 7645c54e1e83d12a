//! `plot-table FILE.md...`: draws the TCP_STREAM rows of the tables that
//! `netns-report` and `lkl-report.sh` make, goodput against payload.
//!
//! What stands in `netns.md` below the heading `## MTU 1500` becomes
//! `netns-mtu-1500.svg` beside it.

use anyhow::{Context, Result, bail};
use stdpkt_benches::report::svg::Plot;
use stdpkt_benches::report::table;

fn main() -> Result<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        bail!("usage: plot-table FILE.md...");
    }
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| file.clone())?;
        let stem = file.strip_suffix(".md").context("no name that ends in .md")?;
        for (heading, lines) in table::goodput(&text) {
            let title = format!("TCP_STREAM, {heading}");
            let plot = Plot { title: &title, x: "bytes in a write", y: "Gbit/s", lines };
            let path = format!("{stem}-{}.svg", table::slug(&heading));
            std::fs::write(&path, plot.svg()).with_context(|| path.clone())?;
            println!("{path}");
        }
    }
    Ok(())
}
