//! Which functions a user means.

use wildmatch::WildMatch;

/// A name, a part of one, a pattern as of a shell, or a process id.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    /// Where there is a `*` or `?` in it.
    wild: Option<WildMatch>,
}

impl Pattern {
    /// Of what stands on the command line.
    pub fn new(text: &str) -> Pattern {
        let wild = text.contains(['*', '?']).then(|| WildMatch::new(text));
        Pattern { text: text.to_owned(), wild }
    }

    /// Whether it means this one.
    pub fn matches(&self, name: &str, pid: Option<u32>) -> bool {
        match &self.wild {
            Some(wild) => wild.matches(name),
            None => {
                name.contains(&self.text) || pid.is_some_and(|pid| pid.to_string() == self.text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_name_a_pattern_or_a_process_id() {
        for (pattern, name, matches) in [
            ("web", "web-1", true),
            ("web?1", "web-1", true),
            ("web*", "web", true),
            ("eb*", "web", false),
            ("17", "nat", true),
            ("1", "nat", false),
            ("*", "", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name, Some(17)), matches, "{pattern} {name}");
        }
        assert!(!Pattern::new("17").matches("nat", None));
    }
}
