//! Which link somebody means, and who is at its ends.

use anyhow::{Result, bail};
use shmring::board::Identity;
use shmring::observe::Process;

use crate::ls::links::{End, Link};
use crate::ls::report::Report;
use crate::name;

/// One end of a link.
pub struct Side {
    /// Whose it is.
    pub process: Process,
    /// The interface.
    pub label: String,
}

/// The ends of the link that `NAME:INTERFACE` means, that one first. The other one is
/// missing where nobody has come.
///
/// # Errors
/// One line: there is no such link.
pub fn at(word: &str) -> Result<Vec<Side>> {
    let Some((function, interface)) = word.split_once(':') else {
        bail!("{word}: which link? Write NAME:INTERFACE, as fw:right, or two names")
    };
    let process = name::find(function)?;
    let links = Report::new()?.links;
    let own = |end: Option<&End>| end.is_some_and(|end| end.pid == Some(process.pid));
    let its = || links.iter().filter(|link| own(link.from.as_ref()) || own(link.to.as_ref()));
    let is_meant = |end: &Option<End>| {
        own(end.as_ref())
            && end.as_ref().is_some_and(|end| end.interface.as_deref() == Some(interface))
    };
    let found = its().find(|link| is_meant(&link.from) || is_meant(&link.to));
    let Some(Link { from, to, .. }) = found else {
        let mut there: Vec<_> = its()
            .flat_map(|link| [&link.from, &link.to])
            .filter(|end| own(end.as_ref()))
            .filter_map(|end| end.as_ref()?.interface.as_deref())
            .collect();
        there.sort_unstable();
        there.dedup();
        match there.is_empty() {
            true => bail!(
                "{function} has no link just now: another change may be under way there: try again"
            ),
            false => bail!("{function} has no link {interface}: it has {}", there.join(", ")),
        }
    };
    let (here, there) = if is_meant(from) { (from, to) } else { (to, from) };
    Ok([here, there].into_iter().filter_map(side).collect())
}

/// The ends of the one link between two functions.
///
/// # Errors
/// One line: there is none, or several.
pub fn between(one: &str, other: &str) -> Result<Vec<Side>> {
    let pids = [name::find(one)?.pid, name::find(other)?.pid];
    let links = Report::new()?.links;
    let mut found = Vec::new();
    for Link { from, to, .. } in &links {
        let pid = |end: &Option<End>| end.as_ref().and_then(|end| end.pid);
        let ends = match (pid(from), pid(to)) {
            (Some(a), Some(b)) if [a, b] == pids => [side(from), side(to)],
            (Some(a), Some(b)) if [b, a] == pids => [side(to), side(from)],
            _ => continue,
        };
        let [Some(here), Some(there)] = ends else { continue };
        if found.iter().all(|[it, _]: &[Side; 2]| it.label != here.label) {
            found.push([here, there]);
        }
    }
    match found.len() {
        0 => bail!(
            "there is no link between {one} and {other}: `stdpkt ls --chains` shows who has one"
        ),
        1 => Ok(found.remove(0).into()),
        _ => bail!(
            "{one} and {other} have several links: name one: {}",
            found
                .iter()
                .map(|[it, _]| format!("{one}:{}", it.label))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

fn side(end: &Option<End>) -> Option<Side> {
    let end = end.as_ref()?;
    let process = Process { pid: end.pid?, identity: identity(end) };
    Some(Side { process, label: end.interface.clone()? })
}

/// What the one at an end is called.
pub fn identity(end: &End) -> Identity {
    Identity { name: end.name.clone().unwrap_or_default(), command: String::new() }
}
