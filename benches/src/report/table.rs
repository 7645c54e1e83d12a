//! Figures out of markdown tables.

use super::svg::Line;

/// Goodput in Gbit/s against the bytes of a write, a line a channel: of each
/// section with rows of TCP_STREAM in Mbit/s, behind the section's heading.
pub fn goodput(markdown: &str) -> Vec<(String, Vec<Line>)> {
    let mut heading = "";
    let mut sections: Vec<(String, Vec<Line>)> = Vec::new();
    for row in markdown.lines() {
        if let Some(text) = row.strip_prefix("## ") {
            heading = text;
        }
        let Some(row) = row.strip_prefix("| ") else { continue };
        let mut cells = row.trim_end_matches('|').split('|').map(str::trim);
        let first = cells.next().unwrap_or_default();
        if first == "netperf" {
            let line = |name: &str| Line { name: name.to_owned(), points: Vec::new() };
            sections.push((heading.to_owned(), cells.map(line).collect()));
        } else if let (Some(payload), Some((_, lines))) = (payload(first), sections.last_mut()) {
            // A column whose name has a slash holds ratios.
            for (line, cell) in lines.iter_mut().zip(cells).filter(|it| !it.0.name.contains('/')) {
                // The median; the spread stands in brackets behind it.
                let median = cell.split(' ').next().and_then(|word| word.parse::<f64>().ok());
                line.points.extend(median.map(|mbits| (payload, mbits / 1e3)));
            }
        }
    }
    for (_, lines) in &mut sections {
        lines.retain(|line| !line.points.is_empty());
    }
    sections.retain(|(_, lines)| !lines.is_empty());
    sections
}

/// Of `TCP_STREAM 64` or `TCP_STREAM 64, Mbit/s`.
fn payload(cell: &str) -> Option<f64> {
    cell.strip_prefix("TCP_STREAM ")?.split(',').next()?.parse().ok()
}

/// A heading as a part of a file's name.
pub fn slug(heading: &str) -> String {
    let words = heading.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_table_give_the_same_lines() {
        let netns = "## MTU 1500\n\n| netperf | unit | shm | fifo | shm/fifo |\n|---|---|--:|--:|--:|\n\
                     | TCP_STREAM 64 | Mbit/s | 300 (1..2) | 150 (1..2) | 2.00 |\n\
                     | TCP_STREAM 65507 | Mbit/s | 9000 (1..2) | - | - |\n\
                     | TCP_RR | /s | 7 (1..2) | 8 (1..2) | 0.88 |\n";
        let lkl = "## MTU 1500\n\n| netperf | shm | fifo | shm/fifo |\n|---|--:|--:|--:|\n\
                   | TCP_STREAM 64, Mbit/s | 300 | 150 | 2.00 |\n\
                   | TCP_STREAM 65507, Mbit/s | 9000 | - | - |\n\
                   | TCP_RR, /s | 7 | 8 | 0.88 |\n";
        let shm = Line { name: "shm".into(), points: vec![(64.0, 0.3), (65507.0, 9.0)] };
        let fifo = Line { name: "fifo".into(), points: vec![(64.0, 0.15)] };
        let expected = vec![("MTU 1500".to_owned(), vec![shm, fifo])];
        assert_eq!(goodput(netns), expected);
        assert_eq!(goodput(lkl), expected);
        assert_eq!(goodput("## MTU 1500\n\n| a | b |\n|---|--:|\n| TCP_STREAM 64 | 1 |\n"), []);
    }

    #[test]
    fn a_heading_becomes_a_name() {
        assert_eq!(slug("MTU 1500, offload 0x8883"), "mtu-1500-offload-0x8883");
    }
}
