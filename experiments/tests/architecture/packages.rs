//! Which packages are let in: `deny.toml`'s lists, read and applied here, so that they hold without another
//! program and without a network; and no dependency that nobody uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use proc_macro2::{TokenStream, TokenTree};
use serde_json::Value;
use spdx::{Expression, Licensee, ParseMode};

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(workspace()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// All packages that this machine's builds may take, with those that only GPU builds take: what was
/// downloaded to build the workspace is all that this needs.
fn metadata() -> Value {
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let arguments = ["metadata", "--locked", "--filter-platform", host, "--format-version", "1"];
    serde_json::from_str(&cargo(&arguments)).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

/// Packages of the workspace.
fn members(metadata: &Value) -> impl Iterator<Item = &Value> {
    let ids: BTreeSet<&str> =
        list(metadata, "workspace_members").iter().map(|id| id.as_str().unwrap()).collect();
    list(metadata, "packages").iter().filter(move |package| ids.contains(text(package, "id")))
}

/// What `deny.toml` says of licences.
struct Licences {
    allowed: Vec<Licensee>,
    /// Packages that name no licence in their manifest, with the one of their licence file.
    clarified: BTreeMap<String, String>,
}

impl Licences {
    fn read() -> Self {
        let deny = fs::read_to_string(workspace().join("deny.toml")).unwrap();
        let deny: toml::Table = deny.parse().unwrap();
        let allowed = deny["licenses"]["allow"].as_array().unwrap().iter();
        let licence = |name: &toml::Value| Licensee::parse(name.as_str().unwrap()).unwrap();
        let clarified = deny["licenses"]["clarify"].as_array().unwrap().iter();
        let pair =
            |entry: &toml::Value| ["crate", "expression"].map(|key| entry[key].as_str().unwrap().to_owned());
        Self {
            allowed: allowed.map(licence).collect(),
            clarified: clarified.map(pair).map(|[a, b]| (a, b)).collect(),
        }
    }

    /// Whether a package's licence is one of those allowed.
    fn allow(&self, expression: &str) -> bool {
        let allowed =
            |wanted: &spdx::LicenseReq| self.allowed.iter().any(|licence| licence.satisfies(wanted));
        // Old manifests write `MIT/Apache-2.0`.
        Expression::parse_mode(expression, ParseMode::LAX)
            .is_ok_and(|expression| expression.evaluate(allowed))
    }
}

#[test]
fn every_licence_is_allowed() {
    let (metadata, licences) = (metadata(), Licences::read());
    let of = |package: &Value| {
        let name = text(package, "name");
        let expression = package["license"].as_str().or(licences.clarified.get(name).map(String::as_str));
        let refused = expression.is_none_or(|expression| !licences.allow(expression));
        refused.then(|| format!("{name} {}: {expression:?}", text(package, "version")))
    };
    let refused: Vec<String> = list(&metadata, "packages").iter().filter_map(of).collect();
    assert!(refused.is_empty(), "not in deny.toml: {refused:#?}");
    for expression in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "proprietary", ""] {
        assert!(!licences.allow(expression), "{expression}");
    }
}

#[test]
fn every_package_is_from_one_registry() {
    let lock: toml::Table = fs::read_to_string(workspace().join("Cargo.lock")).unwrap().parse().unwrap();
    let packages = lock["package"].as_array().unwrap().iter();
    let sources: BTreeSet<&str> = packages.filter_map(|package| package.get("source")?.as_str()).collect();
    assert!(
        sources.len() == 1 && sources.iter().all(|source| source.starts_with("registry+")),
        "{sources:?}"
    );
}

#[test]
fn every_dependency_has_one_version_and_names_it() {
    let metadata = metadata();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let packages: BTreeMap<&str, &Value> =
        list(&metadata, "packages").iter().map(|package| (text(package, "id"), package)).collect();
    let ours: BTreeSet<&str> = members(&metadata).map(|package| text(package, "id")).collect();
    for node in list(&metadata["resolve"], "nodes").iter().filter(|node| ours.contains(text(node, "id"))) {
        for dependency in list(node, "deps") {
            let package = packages[text(dependency, "pkg")];
            versions.entry(text(package, "name")).or_default().insert(text(package, "version"));
        }
    }
    let several: Vec<_> = versions.iter().filter(|(_, versions)| versions.len() > 1).collect();
    assert!(several.is_empty(), "the workspace depends on two versions of {several:?}");
    for package in members(&metadata) {
        for dependency in list(package, "dependencies").iter().filter(|one| one["path"].is_null()) {
            let name = text(dependency, "name");
            assert_ne!(text(dependency, "req"), "*", "{} takes any version of {name}", text(package, "name"));
        }
    }
}

/// Every identifier of the Rust files below a folder.
fn identifiers(folder: &Path, found: &mut BTreeSet<String>) {
    fn of(tokens: TokenStream, found: &mut BTreeSet<String>) {
        for token in tokens {
            match token {
                TokenTree::Ident(name) => drop(found.insert(name.to_string())),
                TokenTree::Group(group) => of(group.stream(), found),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
    let Ok(entries) = folder.read_dir() else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            identifiers(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let tokens = TokenStream::from_str(&fs::read_to_string(&path).unwrap());
            of(tokens.unwrap_or_else(|error| panic!("{}: {error}", path.display())), found);
        }
    }
}

#[test]
fn every_dependency_is_used() {
    let metadata = metadata();
    let mut unused = Vec::new();
    for package in members(&metadata) {
        let folder = Path::new(text(package, "manifest_path")).parent().unwrap();
        let mut run = BTreeSet::new();
        identifiers(&folder.join("src"), &mut run);
        let mut test = run.clone();
        for part in ["tests", "benches", "examples"] {
            identifiers(&folder.join(part), &mut test);
        }
        let mut nodes = list(&metadata["resolve"], "nodes").iter();
        let node = nodes.find(|node| node["id"] == package["id"]).unwrap();
        for dependency in list(node, "deps") {
            let to_run = list(dependency, "dep_kinds").iter().any(|kind| kind["kind"].is_null());
            let named = if to_run { &run } else { &test };
            if !named.contains(text(dependency, "name")) {
                unused.push(format!("{}: {}", text(package, "name"), text(dependency, "name")));
            }
        }
    }
    assert!(unused.is_empty(), "dependencies that no source file names: {unused:?}");
}
