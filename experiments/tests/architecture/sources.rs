//! What stands in the syntax of one module: the names that it defines and imports, and the paths that it
//! follows.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Attribute, Item, UseTree};

/// A path as its segments.
pub(crate) type Segments = Vec<String>;

/// The names that a module defines and imports, those that its functions import among them.
#[derive(Default)]
pub(crate) struct Scope {
    pub(crate) items: BTreeSet<String>,
    pub(crate) imports: BTreeMap<String, Segments>,
    pub(crate) globs: Vec<Segments>,
}

impl<'a> Visit<'a> for Scope {
    fn visit_item(&mut self, item: &'a Item) {
        if for_tests(attributes(item)) {
            return;
        }
        let name = match item {
            Item::Const(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Fn(item) => &item.sig.ident,
            Item::Static(item) => &item.ident,
            Item::Struct(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            Item::Type(item) => &item.ident,
            Item::Union(item) => &item.ident,
            Item::Use(item) => {
                for (name, path) in leaves(&item.tree) {
                    match name {
                        Some(name) => drop(self.imports.insert(name, path)),
                        None => self.globs.push(path),
                    }
                }
                return;
            }
            Item::Mod(_) => return,
            item => return syn::visit::visit_item(self, item),
        };
        self.items.insert(name.to_string());
        syn::visit::visit_item(self, item);
    }
}

/// The paths that stand in a module.
#[derive(Default)]
pub(crate) struct References {
    pub(crate) paths: BTreeSet<Segments>,
    /// Types with the methods that an `impl` without a trait gives them here.
    pub(crate) methods: BTreeSet<(Segments, String)>,
    /// Names of the methods that are called on values.
    calls: BTreeSet<String>,
}

impl<'a> Visit<'a> for References {
    fn visit_item(&mut self, item: &'a Item) {
        match item {
            item if for_tests(attributes(item)) => {}
            // A module of its own.
            Item::Mod(_) => {}
            // A re-export is no use; a private import is one, or the compiler would call it unused.
            Item::Use(item) => {
                if matches!(item.vis, syn::Visibility::Inherited) {
                    self.paths.extend(leaves(&item.tree).into_iter().map(|(_, path)| path));
                }
            }
            Item::Impl(block) => {
                if let (None, syn::Type::Path(of)) = (&block.trait_, &*block.self_ty) {
                    let functions = block.items.iter().filter_map(|item| match item {
                        syn::ImplItem::Fn(function) => Some(function.sig.ident.to_string()),
                        _ => None,
                    });
                    self.methods.extend(functions.map(|name| (segments(&of.path), name)));
                }
                syn::visit::visit_item_impl(self, block);
            }
            item => syn::visit::visit_item(self, item),
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        self.paths.insert(segments(path));
        syn::visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        self.calls.insert(call.method.to_string());
        syn::visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        self.visit_path(&call.path);
        self.visit_tokens(call.tokens.clone());
    }
}

impl References {
    /// Whether a method is called, on a value or by the name of its type.
    pub(crate) fn call(&self, of: &[String], method: &str) -> bool {
        let by_type = |path: &Segments| path.ends_with(&[of[of.len() - 1].clone(), method.to_owned()]);
        self.calls.contains(method) || self.paths.iter().any(by_type)
    }

    /// The paths among a macro's tokens. A name that stands alone counts if it begins as a type does: others
    /// may as well be local variables.
    fn visit_tokens(&mut self, tokens: TokenStream) {
        let mut path = Segments::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons < 2 {
                        self.end_of(&mut path);
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(point) if point.as_char() == ':' => colons += 1,
                other => {
                    self.end_of(&mut path);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.visit_tokens(group.stream());
                    }
                }
            }
        }
        self.end_of(&mut path);
    }

    fn end_of(&mut self, path: &mut Segments) {
        let path = std::mem::take(path);
        let a_type = |name: &String| name.starts_with(char::is_uppercase);
        if path.len() > 1 || path.first().is_some_and(a_type) {
            self.paths.insert(path);
        }
    }
}

/// What a `use` imports: names with their paths, and paths without a name, all of whose names are imported.
fn leaves(tree: &UseTree) -> Vec<(Option<String>, Segments)> {
    let single = |name: &syn::Ident, of: &syn::Ident| vec![(Some(name.to_string()), vec![of.to_string()])];
    match tree {
        UseTree::Name(leaf) => single(&leaf.ident, &leaf.ident),
        UseTree::Rename(leaf) => single(&leaf.rename, &leaf.ident),
        UseTree::Glob(_) => vec![(None, Vec::new())],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
        UseTree::Path(path) => {
            let first = path.ident.to_string();
            let longer = |(name, rest): (Option<String>, Segments)| match name.as_deref() {
                // `use a::{self}` is `use a`.
                Some("self") => (Some(first.clone()), vec![first.clone()]),
                _ => (name, [vec![first.clone()], rest].concat()),
            };
            leaves(&path.tree).into_iter().map(longer).collect()
        }
    }
}

fn segments(path: &syn::Path) -> Segments {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

/// Whether `cfg` leaves something to tests alone.
pub(crate) fn for_tests(attributes: &[Attribute]) -> bool {
    let only_tests = |attribute: &Attribute| {
        let tokens = attribute.meta.require_list().map(|list| list.tokens.to_string());
        tokens.is_ok_and(|tokens| tokens == "test" || tokens.starts_with("all (test"))
    };
    attributes.iter().any(|attribute| attribute.path().is_ident("cfg") && only_tests(attribute))
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
