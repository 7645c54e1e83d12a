//! Prometheus' own text format, made of OpenMetrics.

/// The same metrics in version 0.0.4 of the text format. There a counter's name has its
/// `_total` in the lines of comment, too, and there are neither units nor an end.
pub fn plain(metrics: &str) -> String {
    let mut text = String::with_capacity(metrics.len());
    let counters: Vec<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    for line in metrics.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "EOF"] | ["#", "UNIT", ..] => continue,
            ["#", kind @ ("HELP" | "TYPE"), name, rest] if counters.contains(&name) => {
                text += &format!("# {kind} {name}_total {rest}");
            }
            _ => text += line,
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_one_name_throughout_and_nothing_else_changes() {
        let metrics = "\
# HELP a_bytes Of a # TYPE.
# TYPE a_bytes counter
# UNIT a_bytes bytes
a_bytes_total{function=\"x # EOF\"} 3
# HELP up Links.
# TYPE up gauge
up 1
# EOF
";
        let expected = "\
# HELP a_bytes_total Of a # TYPE.
# TYPE a_bytes_total counter
a_bytes_total{function=\"x # EOF\"} 3
# HELP up Links.
# TYPE up gauge
up 1
";
        assert_eq!(plain(metrics), expected);
    }
}
