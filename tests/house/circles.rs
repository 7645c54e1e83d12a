//! No circles: of two files of a crate, one can be read without the other.
//!
//! A file below another in the tree of modules is a part of it, and may use it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Macro, UseTree, Visibility};

/// The way to a module or an item, from the root of its crate.
type Way = Vec<String>;

/// A module: where it stands, and what it shows of others.
#[derive(Default)]
struct Module {
    /// The module that its file is. One written out inside of another has none of its own.
    file: Way,
    children: BTreeSet<String>,
    /// Items of other modules under the names that they have here.
    shown: BTreeMap<String, Way>,
    /// What it names.
    named: Vec<Way>,
}

type Modules = BTreeMap<Way, Module>;

/// Reads the files of a crate, as far as they are part of it outside of tests.
struct Reader<'a> {
    modules: &'a mut Modules,
    /// Where we are.
    at: Way,
}

/// Reads a crate from its root file on.
fn read(root: &Path) -> Modules {
    let mut modules = Modules::new();
    let mut todo = vec![(Way::new(), root.to_owned(), root.parent().unwrap().to_owned())];
    while let Some((at, path, dir)) = todo.pop() {
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let module = Module { file: at.clone(), ..Module::default() };
        modules.insert(at.clone(), module);
        for child in file.items.iter().filter_map(external) {
            let below = dir.join(&child);
            let places = [dir.join(format!("{child}.rs")), below.join("mod.rs")];
            let place = places.iter().find(|place| place.is_file());
            let place = place.unwrap_or_else(|| panic!("{}: mod {child}?", path.display()));
            todo.push(([&at[..], &[child]].concat(), place.clone(), below));
        }
        Reader { modules: &mut modules, at }.visit_file(&file);
    }
    modules
}

/// The name of a module that has a file of its own.
fn external(item: &Item) -> Option<String> {
    match item {
        Item::Mod(it) if it.content.is_none() && !is_for_tests(&it.attrs) => {
            Some(it.ident.to_string())
        }
        _ => None,
    }
}

fn is_for_tests(attrs: &[Attribute]) -> bool {
    let is = |attr: &Attribute| match attr.meta.require_list() {
        Ok(list) => attr.path().is_ident("cfg") && list.tokens.to_string().contains("test"),
        Err(_) => false,
    };
    attrs.iter().any(is)
}

impl Reader<'_> {
    fn module(&mut self) -> &mut Module {
        self.modules.get_mut(&self.at).unwrap()
    }

    /// From the root of the crate, if it begins in this crate at all.
    fn absolute(&self, way: &[String]) -> Option<Way> {
        let mut at = self.at.clone();
        let mut rest = way;
        match rest.first()?.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    at.pop();
                    rest = &rest[1..];
                }
                return Some([&at[..], rest].concat());
            }
            child if self.modules[&self.at].children.contains(child) => {
                return Some([&at[..], rest].concat());
            }
            _ => return None,
        }
        Some([&at[..], &rest[1..]].concat())
    }

    fn name(&mut self, way: &[String]) {
        if let Some(way) = self.absolute(way) {
            self.module().named.push(way);
        }
    }

    fn import(&mut self, tree: &UseTree, before: &[String], shown: bool) {
        let (way, name) = match tree {
            UseTree::Path(it) => {
                let way = [before, &[it.ident.to_string()]].concat();
                return self.import(&it.tree, &way, shown);
            }
            UseTree::Group(it) => {
                return it.items.iter().for_each(|tree| self.import(tree, before, shown));
            }
            UseTree::Glob(_) => (before.to_vec(), None),
            UseTree::Name(it) if it.ident == "self" => (before.to_vec(), None),
            UseTree::Name(it) => (with(before, &it.ident), Some(it.ident.to_string())),
            UseTree::Rename(it) => (with(before, &it.ident), Some(it.rename.to_string())),
        };
        self.name(&way);
        if let (true, Some(name), Some(way)) = (shown, name, self.absolute(&way)) {
            self.module().shown.insert(name, way);
        }
    }
}

fn with(before: &[String], last: &syn::Ident) -> Way {
    [before, &[last.to_string()]].concat()
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_file(&mut self, file: &'ast syn::File) {
        let children = file.items.iter().filter_map(external);
        self.module().children.extend(children);
        visit::visit_file(self, file);
    }

    fn visit_item_mod(&mut self, it: &'ast ItemMod) {
        if it.content.is_none() || is_for_tests(&it.attrs) {
            return;
        }
        let name = it.ident.to_string();
        let file = self.module().file.clone();
        self.module().children.insert(name.clone());
        self.at.push(name);
        self.modules.insert(self.at.clone(), Module { file, ..Module::default() });
        visit::visit_item_mod(self, it);
        self.at.pop();
    }

    fn visit_item_use(&mut self, it: &'ast ItemUse) {
        if !is_for_tests(&it.attrs) {
            self.import(&it.tree, &[], !matches!(it.vis, Visibility::Inherited));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let way: Way = path.segments.iter().map(|it| it.ident.to_string()).collect();
        if way.len() > 1 {
            self.name(&way);
        }
        visit::visit_path(self, path);
    }

    /// What stands inside of a macro's brackets is not parsed: paths are looked for.
    fn visit_macro(&mut self, it: &'ast Macro) {
        let tokens = it.tokens.to_string();
        let words: Vec<&str> = tokens.split_whitespace().collect();
        for (at, word) in words.iter().enumerate() {
            if matches!(*word, "crate" | "super") {
                let parts = words[at..].chunks(2).take_while(|pair| pair.get(1) == Some(&"::"));
                let mut way: Way = parts.map(|pair| pair[0].to_owned()).collect();
                way.extend(words.get(at + 2 * way.len()).map(|last| (*last).to_owned()));
                self.name(&way);
            }
        }
        visit::visit_macro(self, it);
    }
}

/// The module in which the item stands that a way leads to.
fn home(modules: &Modules, way: &[String]) -> Way {
    let mut way = way.to_vec();
    // Names may be handed on from module to module.
    for _ in 0..8 {
        let depth = (0..=way.len()).rev().find(|&n| modules.contains_key(&way[..n])).unwrap();
        let module = &modules[&way[..depth]];
        match way.get(depth).and_then(|name| module.shown.get(name)) {
            Some(other) => way = [&other[..], &way[depth + 1..]].concat(),
            None => return module.file.clone(),
        }
    }
    panic!("{way:?} is shown in a circle");
}

/// Files that use each other, in turn or at once.
fn circles(modules: &Modules) -> Vec<BTreeSet<String>> {
    let mut uses: BTreeMap<&Way, BTreeSet<Way>> = BTreeMap::new();
    for module in modules.values() {
        let from = &module.file;
        for way in &module.named {
            let to = home(modules, way);
            if !from.starts_with(&to) {
                uses.entry(from).or_default().insert(to);
            }
        }
    }
    let reach = |from: &Way| {
        let mut seen = BTreeSet::new();
        let mut todo = vec![from.clone()];
        while let Some(at) = todo.pop() {
            for to in uses.get(&at).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    todo.push(to.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&Way, BTreeSet<Way>> = uses.keys().map(|at| (*at, reach(at))).collect();
    let with_itself = reached.iter().filter(|(at, to)| to.contains(**at));
    let circle = |at: &Way| {
        let mates =
            reached[at].iter().filter(|it| reached.get(it).is_some_and(|to| to.contains(at)));
        mates.map(|way| way.join("::")).collect::<BTreeSet<_>>()
    };
    let mut all: Vec<_> = with_itself.map(|(at, _)| circle(at)).collect();
    all.sort();
    all.dedup();
    all
}

/// The root file of each library and program of the workspace, with its name.
fn crates() -> Vec<(String, PathBuf)> {
    let metadata = super::crates::metadata();
    let members = metadata["workspace_members"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let own = packages.filter(|package| members.contains(&package["id"]));
    let targets = own.flat_map(|package| package["targets"].as_array().unwrap());
    let built = targets.filter(|target| {
        let kinds = target["kind"].as_array().unwrap();
        kinds.iter().any(|kind| matches!(kind.as_str(), Some("lib" | "rlib" | "cdylib" | "bin")))
    });
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    built.map(|target| (text(&target["name"]), text(&target["src_path"]).into())).collect()
}

#[test]
fn no_two_files_of_a_crate_use_each_other() {
    let crates = crates();
    let mut files = 0;
    let mut found = Vec::new();
    for (name, root) in &crates {
        let modules = read(root);
        files += modules.len();
        found.extend(circles(&modules).into_iter().map(|circle| format!("{name}: {circle:?}")));
    }
    assert!(files > 100, "{files} files in {crates:?}");
    assert!(found.is_empty(), "circles:\n{}", found.join("\n"));
}

#[test]
fn circles_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    let found = || circles(&read(&dir.path().join("lib.rs")));
    write("lib.rs", "mod a; mod b; mod c; pub use a::A;");
    write("a.rs", "mod part; pub struct A; fn f() { crate::b::g() }");
    fs::create_dir(dir.path().join("a")).unwrap();
    write("a/part.rs", "use super::A;");
    write("b.rs", "#[cfg(test)] mod tests { use crate::A; } pub fn g() {}");
    write("c.rs", "use crate::{A, b};");
    assert!(found().is_empty(), "{:?}", found());
    let circle = |names: &[&str]| vec![names.iter().map(|name| name.to_string()).collect()];
    // By what the root shows, by a path, inside of a macro, in a module written out.
    for text in [
        "use crate::A;",
        "fn g(_: super::a::A) {}",
        "fn g() { println!(\"{}\", crate::a::N) }",
        "mod inner { use super::super::A; }",
    ] {
        write("b.rs", text);
        assert_eq!(found(), circle(&["a", "b"]), "{text}");
    }
    write("b.rs", "fn g() { crate::c::f() }");
    assert_eq!(found(), circle(&["a", "b", "c"]));
}
