//! No circle of modules in any crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::modules::{Dependency, Modules};

/// The root files of every crate, with the crate's name.
fn roots() -> Vec<(String, PathBuf)> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let crates = workspace.join("crates").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut roots = Vec::new();
    for folder in crates.chain([workspace.join("experiments")]) {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let files = ["lib.rs", "main.rs"].map(|file| folder.join("src").join(file));
        let before = roots.len();
        roots.extend(files.into_iter().filter(|file| file.exists()).map(|file| (name.clone(), file)));
        assert!(roots.len() > before, "{name} has no root file");
    }
    roots
}

/// The modules that one leads to; itself, if there is a way back.
fn reached<'a>(next: &BTreeMap<&'a str, Vec<&'a str>>, start: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(at) = open.pop() {
        let further = next.get(at).into_iter().flatten().copied();
        open.extend(further.filter(|other| reached.insert(*other)));
    }
    reached
}

/// Groups of modules that all lead to each other, each with the dependencies inside it.
fn circles(dependencies: &[Dependency]) -> Vec<Vec<&Dependency>> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to, _) in dependencies {
        next.entry(from).or_default().push(to);
    }
    let from: BTreeMap<&str, BTreeSet<&str>> = next.keys().map(|&at| (at, reached(&next, at))).collect();
    let leads = |a: &str, b: &str| from.get(a).is_some_and(|others| others.contains(b));
    let mut groups: BTreeMap<&str, Vec<&Dependency>> = BTreeMap::new();
    for dependency in dependencies {
        let (a, b, _) = dependency;
        if leads(b, a) {
            // The first of all modules in the circle stands for it.
            let first = from[a.as_str()].iter().find(|other| leads(other, a)).unwrap();
            groups.entry(first).or_default().push(dependency);
        }
    }
    groups.into_values().collect()
}

#[test]
fn no_crate_has_a_circle_of_modules() {
    let mut report = String::new();
    for (name, root) in roots() {
        for circle in circles(&Modules::read(&name, &root).dependencies()) {
            let modules: BTreeSet<&str> = circle.iter().map(|(from, _, _)| from.as_str()).collect();
            writeln!(report, "{} modules in a circle: {modules:?}", modules.len()).unwrap();
            for (from, to, path) in circle {
                writeln!(report, "    {from} -> {to} ({path})").unwrap();
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

/// What `files` of a crate depend on each other by, `a -> b` each.
fn arrows(files: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let dependencies = Modules::read("it", &folder.path().join("lib.rs")).dependencies();
    dependencies.into_iter().map(|(from, to, _)| format!("{from} -> {to}")).collect()
}

#[test]
fn paths_are_followed_to_the_module_that_defines_the_item() {
    const A: &str = "pub struct Item; pub fn run() {} pub const ONE: u8 = 1;";
    const C: &str = "pub use crate::a::*; pub mod inner { pub struct Deep; }";

    let root = "mod a; mod b; mod c; pub use a::{Item, run as start};";
    let below = |b: &'static str| arrows(&[("lib.rs", root), ("a.rs", A), ("b/mod.rs", b), ("c.rs", C)]);
    // Declarations and re-exports alone are no dependency.
    assert!(below("").is_empty());
    let to_a = [
        "use crate::Item;",
        "fn f() -> crate::a::Item { todo!() }",
        "fn f() { super::start() }",
        "fn f() { use crate::c::ONE; }",
        "use super::a; fn f() -> Vec<a::Item> { Vec::new() }",
        "use crate::c::*; fn f() -> u8 { ONE }",
        "fn f() { assert!(matches!(1, crate::start)); }",
        "mod inside { fn f() { super::super::start() } }",
    ];
    for text in to_a {
        assert_eq!(below(text), ["it::b -> it::a"], "{text}");
    }
    assert_eq!(below("use crate::c::inner::Deep;"), ["it::b -> it::c"]);
    for text in
        ["#[cfg(test)] mod tests { use crate::Item; }", "fn start() {} fn f() { start() }", "use a::Item;"]
    {
        assert!(below(text).is_empty(), "{text}");
    }
}

#[test]
fn a_circle_is_found_through_methods_and_parents() {
    let root = "mod a; mod b; pub struct Parent;";
    let calls = "pub struct Item; impl Item { fn f(&self) { self.later() } }";
    let files = |a, b| arrows(&[("lib.rs", root), ("a.rs", a), ("b.rs", b)]);
    let later = "use crate::a::Item; impl Item { pub(crate) fn later(&self) {} }";
    assert_eq!(files(calls, later), ["it::a -> it::b", "it::b -> it::a"]);
    assert_eq!(files("pub struct Item;", later), ["it::b -> it::a"]);
    let named = |dependencies: &[&str]| -> Vec<Dependency> {
        let pair =
            |text: &&str| text.split_once('>').map(|(a, b)| (a.to_owned(), b.to_owned(), String::new()));
        dependencies.iter().filter_map(pair).collect()
    };
    assert!(circles(&named(&["a>b", "b>c", "a>c"])).is_empty());
    let two = named(&["a>b", "b>c", "c>b", "d>e", "e>f", "f>d", "c>d"]);
    let sizes: Vec<usize> = circles(&two).iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 3]);
    let up = arrows(&[
        ("lib.rs", "mod a; pub struct Parent; fn f() { a::g() }"),
        ("a.rs", "use super::Parent; pub fn g() {}"),
    ]);
    assert_eq!(up, ["it -> it::a", "it::a -> it"]);
}
