//! LKL, where it is, and what its kernel was built with.

use std::path::Path;

use super::Item;
use crate::stack::lkl::Lkl;

/// What chains use of a kernel, as its configuration calls it.
const OPTIONS: [&str; 4] = ["NETFILTER", "NF_NAT", "NF_TABLES", "IPV6"];

pub fn item() -> Item {
    const WHAT: &str = "LKL";
    if std::env::var_os("LKL_DIR").is_none() {
        return Item::missing(
            WHAT,
            "LKL_DIR is not set",
            "for --stack lkl build LKL, and set LKL_DIR to its tools/lkl",
        );
    }
    let lkl = match Lkl::find(None) {
        Ok(lkl) => lkl,
        Err(error) => return Item::missing(WHAT, "cannot be used", format!("{error:#}")),
    };
    let found = lkl.hijack().display().to_string();
    // The library is in tools/lkl/lib/hijack of the tree that has the configuration.
    let tree = lkl.hijack().ancestors().nth(5).unwrap_or(Path::new("/"));
    let Ok(config) = std::fs::read_to_string(tree.join(".config")) else {
        return Item::ok(WHAT, format!("{found}; its options are not known"));
    };
    let has = |option: &str| config.lines().any(|line| line == format!("CONFIG_{option}=y"));
    let lacks: Vec<&str> = OPTIONS.into_iter().filter(|option| !has(option)).collect();
    match (has("KASAN"), &lacks[..]) {
        (false, []) => Item::ok(WHAT, found),
        (true, _) => Item::limited(WHAT, found, "built with KASAN, which halves its speed"),
        (false, lacks) => {
            let lacks = lacks.join(", CONFIG_");
            Item::limited(
                WHAT,
                found,
                format!("build it with CONFIG_{lacks} for all that chains do"),
            )
        }
    }
}
