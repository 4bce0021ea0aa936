//! A reader of Rust sources that knows which module uses which, by the paths that stand in them.
//!
//! A module is a file; modules written inside a file belong to it, and what is compiled for tests alone is
//! left out. Module A depends on module B if a path in A leads to an item that B defines, whichever way it
//! leads there: names are followed through imports, re-exports and globs to the module where the item stands.
//! `mod child;` and `pub use child::Item` are therefore no dependency of the parent, and who uses a
//! re-exported item depends on the module that defines it and not on the one that passes it on. A method call
//! has no path, but whoever calls a method of a type or trait of this crate mostly names the type or trait
//! too. Where a type has methods in another file than its own, the name decides: a module that depends on the
//! type and calls a method of that name depends on the file with the method.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::Item;
use syn::visit::Visit;

use crate::sources::{References, Scope, Segments, for_tests};

/// The modules of one crate; the first is its root.
pub(crate) struct Modules(Vec<Module>);

/// One module, in a file of its own or inside another's.
struct Module {
    /// Its path: `lm::device::spec`.
    name: String,
    /// The module whose file it stands in: itself, or one above it.
    file: usize,
    parent: usize,
    children: BTreeMap<String, usize>,
    /// Names of the items it defines.
    items: BTreeSet<String>,
    /// Imported names with the paths they stand for.
    imports: BTreeMap<String, Segments>,
    globs: Vec<Segments>,
    syntax: Vec<Item>,
}

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Module(usize),
    /// An item that this module defines.
    ItemOf(usize),
}

/// A dependency: from, to, and a path that makes it one.
pub(crate) type Dependency = (String, String, String);

impl Modules {
    /// Reads a crate from its root file.
    pub(crate) fn read(name: &str, root: &Path) -> Self {
        let mut modules = Self(Vec::new());
        let directory = root.parent().unwrap();
        modules.add(name, None, parse(root), directory);
        modules
    }

    fn add(&mut self, name: &str, inside: Option<usize>, syntax: Vec<Item>, directory: &Path) -> usize {
        let id = self.0.len();
        let mut scope = Scope::default();
        for item in &syntax {
            scope.visit_item(item);
        }
        let Scope { items, imports, globs } = scope;
        let file = inside.unwrap_or(id);
        self.0.push(Module {
            name: name.to_owned(),
            file,
            parent: id,
            children: BTreeMap::new(),
            items,
            imports,
            globs,
            syntax: Vec::new(),
        });
        for item in &syntax {
            let Item::Mod(module) = item else { continue };
            if for_tests(&module.attrs) {
                continue;
            }
            let child = module.ident.to_string();
            let below = directory.join(&child);
            let (inside, syntax) = match &module.content {
                Some((_, items)) => (Some(file), items.clone()),
                None => (None, parse(&file_of(directory, &child))),
            };
            let added = self.add(&format!("{name}::{child}"), inside, syntax, &below);
            self.0[added].parent = id;
            self.0[id].children.insert(child, added);
        }
        self.0[id].syntax = syntax;
        id
    }

    /// Every dependency of one file on another, with one path or call that makes it.
    pub(crate) fn dependencies(&self) -> Vec<Dependency> {
        let read = |module: &Module| {
            let mut references = References::default();
            module.syntax.iter().for_each(|item| references.visit_item(item));
            references
        };
        let references: Vec<References> = self.0.iter().map(read).collect();
        let mut found = BTreeMap::new();
        for (id, References { paths, .. }) in references.iter().enumerate() {
            for path in paths {
                if let Some(Target::ItemOf(owner)) = self.resolve(id, path, 0) {
                    found.entry((self.0[id].file, self.0[owner].file)).or_insert(path.join("::"));
                }
            }
        }
        for (id, References { methods, .. }) in references.iter().enumerate() {
            for (of, method) in methods {
                let Some(Target::ItemOf(owner)) = self.resolve(id, of, 0) else { continue };
                let (owner, here) = (self.0[owner].file, self.0[id].file);
                for (caller, references) in references.iter().enumerate() {
                    let caller = self.0[caller].file;
                    let knows = caller == owner || found.contains_key(&(caller, owner));
                    if owner != here && knows && references.call(of, method) {
                        found.entry((caller, here)).or_insert(format!("the method {method}"));
                    }
                }
            }
        }
        let name = |id: usize| self.0[id].name.clone();
        let others = found.into_iter().filter(|((from, to), _)| from != to);
        others.map(|((from, to), path)| (name(from), name(to), path)).collect()
    }

    /// Follows a path that stands in a module; `None` leads out of the crate.
    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => Target::Module(0),
            "self" => Target::Module(from),
            "super" => Target::Module(self.0[from].parent),
            name => self.look_up(from, name, rest.is_empty(), depth)?,
        };
        let follow = |at: Target, (index, segment): (usize, &String)| match at {
            // What follows an item is one of its variants, constants or functions.
            Target::ItemOf(_) => at,
            Target::Module(module) if segment == "super" => Target::Module(self.0[module].parent),
            Target::Module(module) => {
                let last = index + 1 == rest.len();
                // A name that a macro defines is nowhere to be seen.
                self.look_up(module, segment, last, depth).unwrap_or(Target::ItemOf(module))
            }
        };
        Some(rest.iter().enumerate().fold(start, follow))
    }

    /// A module and a function may have one name: at the end of a path it is the function's.
    fn look_up(&self, module: usize, name: &str, last: bool, depth: usize) -> Option<Target> {
        // Two globs may import each other.
        if depth > 16 {
            return None;
        }
        let scope = &self.0[module];
        if let Some(child) = scope.children.get(name).filter(|_| !last) {
            return Some(Target::Module(*child));
        }
        if scope.items.contains(name) {
            return Some(Target::ItemOf(module));
        }
        // `use name` of another crate is not the name that it imports.
        if let Some(path) = scope.imports.get(name).filter(|path| path.as_slice() != [name]) {
            return self.resolve(module, path, depth + 1);
        }
        if let Some(child) = scope.children.get(name) {
            return Some(Target::Module(*child));
        }
        scope.globs.iter().find_map(|glob| match self.resolve(module, glob, depth + 1)? {
            Target::Module(other) => self.look_up(other, name, last, depth + 1),
            Target::ItemOf(_) => None,
        })
    }
}

fn parse(path: &Path) -> Vec<Item> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())).items
}

/// The file of the module `child` of the module whose children stand in `directory`.
fn file_of(directory: &Path, child: &str) -> PathBuf {
    let flat = directory.join(format!("{child}.rs"));
    if flat.exists() { flat } else { directory.join(child).join("mod.rs") }
}
