//! The arrows between the crates, and who may know which library.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

const MEMBERS: [&str; 6] = ["domain", "application", "adapters", "api", "tests", "bench"];

/// Who may depend on whom, in what is shipped.
const ARROWS: [(&str, &[&str]); 4] = [
    ("domain", &[]),
    ("application", &["domain"]),
    ("adapters", &["application", "domain"]),
    ("api", &["adapters", "application", "domain"]),
];

/// Libraries that only some crates may know.
const RESERVED: [(&str, &[&str]); 12] = [
    ("poem", &["api", "tests"]),
    ("poem-openapi", &["api"]),
    ("hyper", &["api", "tests"]),
    // The floors of durable figures are Postgres without the service.
    ("tokio-postgres", &["adapters", "tests", "bench"]),
    ("deadpool-postgres", &["adapters", "tests"]),
    ("redis", &["adapters", "tests"]),
    ("reqwest", &["adapters", "tests"]),
    ("jsonwebtoken", &["adapters", "tests", "bench"]),
    ("ammonia", &["adapters", "tests"]),
    ("serde", &["adapters", "api", "tests", "bench"]),
    ("anyhow", &["api", "tests", "bench"]),
    ("tokio", &["application", "adapters", "api", "tests", "bench"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata")
}

fn shipped(metadata: &Metadata, member: &str) -> BTreeSet<String> {
    let package = metadata
        .packages
        .iter()
        .find(|p| p.name.as_str() == member)
        .expect(member);
    let normal = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == DependencyKind::Normal);
    normal.map(|dependency| dependency.name.clone()).collect()
}

#[test]
fn crates_depend_only_where_an_arrow_points() {
    let metadata = metadata();
    for (member, allowed) in ARROWS {
        let dependencies = shipped(&metadata, member);
        let inner: Vec<_> = dependencies
            .iter()
            .filter(|name| MEMBERS.contains(&name.as_str()))
            .map(String::as_str)
            .collect();
        let beyond: Vec<_> = inner.iter().filter(|name| !allowed.contains(name)).collect();
        assert!(beyond.is_empty(), "{member} depends on {beyond:?}");
    }
}

#[test]
fn libraries_stay_in_their_rooms() {
    let metadata = metadata();
    for (library, rooms) in RESERVED {
        for member in MEMBERS.iter().filter(|member| !rooms.contains(*member)) {
            assert!(
                !shipped(&metadata, member).contains(library),
                "{member} knows {library}"
            );
        }
    }
}

#[test]
fn the_domain_knows_nothing_but_values() {
    assert_eq!(
        shipped(&metadata(), "domain"),
        BTreeSet::from(["uuid".to_owned()])
    );
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn only_bootstrap_knows_the_adapters() {
    let mut files = Vec::new();
    sources(&root().join("api/src"), &mut files);
    assert!(files.len() > 5, "the sources were not found");
    let wiring =
        |file: &Path| file.ends_with("bootstrap.rs") || file.to_string_lossy().contains("/bootstrap/");
    for file in files.iter().filter(|file| !wiring(file)) {
        let text = fs::read_to_string(file).expect("a source");
        assert!(
            !text.contains("adapters::"),
            "{} reaches for the adapters",
            file.display()
        );
    }
}

#[test]
fn files_stay_small_enough_to_be_read_in_one_sitting() {
    // A file over 400 lines asks to be two; tests below the code are not counted.
    for member in ["domain", "application", "adapters", "api"] {
        let mut files = Vec::new();
        sources(&root().join(member).join("src"), &mut files);
        let is_test = |file: &Path| {
            let own = file.strip_prefix(root().join(member)).unwrap_or(file);
            own.to_string_lossy().contains("tests")
        };
        for file in files.into_iter().filter(|file| !is_test(file)) {
            let text = fs::read_to_string(&file).expect("a source");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = code.lines().count();
            assert!(lines <= 450, "{} has {lines} lines", file.display());
        }
    }
}
