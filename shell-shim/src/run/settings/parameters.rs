//! Parameters of a function file: `${NAME}` and `${NAME:-x}`, from the environment.

/// What is wrong with a parameter: what it begins with, and a sentence for the user.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// As it stands in the file.
    pub begins: String,
    /// The sentence.
    pub why: String,
}

const LITERAL: &str = "write `$${` where a shell is to see `${`";

/// Puts values in the place of parameters. A parameter that is set to nothing gets its
/// default, too, as in a shell.
///
/// # Errors
/// A parameter that is not set and has no default, or that is none.
pub fn expand(text: &str, get: impl Fn(&str) -> Option<String>) -> Result<String, Wrong> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, inside) = (&rest[..at], &rest[at + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            out += before;
            out += "${";
            rest = inside;
            continue;
        }
        out += before;
        let end = |inside: &str| inside.chars().take(20).collect::<String>();
        let wrong = |why: String| Wrong { begins: format!("${{{}", end(inside)), why };
        let Some(close) = inside.find('}') else {
            return Err(wrong(format!("`${{` without `}}`: {LITERAL}")));
        };
        let parameter = &inside[..close];
        let (name, default) = match parameter.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (parameter, None),
        };
        let is_name = |name: &str| {
            name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
                && name.chars().next().is_some_and(|first| !first.is_ascii_digit())
        };
        if !is_name(name) {
            return Err(wrong(format!(
                "`${{{parameter}}}` is no parameter: there is ${{NAME}} and ${{NAME:-x}}; {LITERAL}"
            )));
        }
        match get(name).filter(|value| !value.is_empty() || default.is_none()) {
            Some(value) => out += &value,
            None => {
                out += default.ok_or_else(|| {
                    wrong(format!(
                        "{name} is not set: set it, or write ${{{name}:-x}} for a default"
                    ))
                })?
            }
        }
        rest = &inside[close + 1..];
    }
    Ok(out + rest)
}

/// The text that [`expand`] turns into `text`, whatever the environment.
pub fn literal(text: &str) -> String {
    text.replace("${", "$${")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_environment(text: &str) -> Result<String, Wrong> {
        expand(text, |name| match name {
            "NET" => Some("10.0.0".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn values_and_defaults() {
        for (text, expanded) in [
            ("${NET}.1/24", "10.0.0.1/24"),
            ("${NONE:-x}${NET}", "x10.0.0"),
            ("${EMPTY:-x}", "x"),
            ("[${EMPTY}]", "[]"),
            ("${NONE:-}", ""),
            ("${NONE:-a:-b}", "a:-b"),
            ("$NET $(x) $$ $", "$NET $(x) $$ $"),
            ("$${NET} ${NET}", "${NET} 10.0.0"),
            ("ä${NET}ä", "ä10.0.0ä"),
        ] {
            assert_eq!(with_environment(text).as_deref(), Ok(expanded), "{text}");
        }
        for text in ["${a} ${b:-${c}} $${", "$", "x"] {
            assert_eq!(with_environment(&literal(text)).as_deref().unwrap_or_default(), text);
        }
    }

    #[test]
    fn what_is_none_is_told() {
        for (text, words) in [
            ("${NONE}", "NONE is not set"),
            ("${", "without `}`"),
            ("${}", "no parameter"),
            ("${1}", "no parameter"),
            ("${NET:+x}", "no parameter"),
            ("${NET%x}", "$${"),
        ] {
            let wrong = with_environment(text).unwrap_err();
            assert!(wrong.why.contains(words), "{text}: {wrong:?}");
        }
    }
}
