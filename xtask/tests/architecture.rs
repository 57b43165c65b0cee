//! The house rules that a manifest can break: arrows between crates, crate names, and what the pure crates may use.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Who may use whom. What is used may be used along: `a -> b -> c` lets `a` name `c`.
const ARROWS: &[(&str, &[&str])] = &[
    ("api", &["broker-core", "broker-access", "engine-runtime", "connectors-api"]),
    ("broker-net", &["broker-core", "broker-codec"]),
    ("broker-core", &["broker-codec", "engine-event"]),
    ("broker-access", &["broker-core"]),
    ("broker-store", &["broker-core", "engine-log"]),
    ("engine-runtime", &["engine-sql", "engine-event", "engine-log", "connectors-api"]),
    ("engine-sql", &["engine-event"]),
    ("connectors-api", &["engine-event"]),
    // a suite of tests: it runs a connector behind the real buffer
    ("connectors-testkit", &["connectors-api", "engine-runtime"]),
    ("xtask", &["tests-services"]),
];

/// Each `connectors/<name>` has these arrows, beside those above.
const CONNECTOR_ARROWS: &[&str] = &["connectors-api"];

/// Programs that put everything together.
const TOPS: &[&str] = &["sluice", "benches"];

/// What only tests may use.
const TEST_CRATES: &[&str] = &["connectors-testkit", "tests-services"];

/// Crates without async runtime and I/O.
const PURE: &[&str] = &["engine-event", "engine-sql", "broker-codec"];

/// What a pure crate does not depend on; a trailing `*` stands for any ending.
const IMPURE: &[&str] = &[
    "async-*",
    "axum",
    "fjall",
    "fs4",
    "futures*",
    "hyper*",
    "mio",
    "notify",
    "reqwest",
    "rumqtt*",
    "smol",
    "socket2",
    "sqlx*",
    "tokio*",
    "tracing-subscriber",
];

/// A file that is longer has more than one subject.
const FILE_LINES_MAX: usize = 900;

struct Package {
    name: String,
    folder: String,
    dependencies: BTreeSet<String>,
    dev_dependencies: BTreeSet<String>,
}

#[test]
fn crates_are_named_after_their_path() {
    let wrong: Vec<String> = packages()
        .iter()
        .filter(|package| !package.folder.is_empty() && package.name != package.folder.replace('/', "-"))
        .map(|package| format!("`{}` is in `{}`", package.name, package.folder))
        .collect();
    assert!(wrong.is_empty(), "a crate is named after its path with dashes: {wrong:?}");
}

#[test]
fn arrows_between_crates_are_listed_ones() {
    let packages = packages();
    let names: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut wrong = Vec::new();
    for package in packages.iter().filter(|package| !TOPS.contains(&package.name.as_str())) {
        let allowed = reachable(&package.name);
        let ours = |set: &BTreeSet<String>| -> Vec<String> {
            set.iter()
                .filter(|name| names.contains(name.as_str()) && !allowed.contains(*name))
                .cloned()
                .collect()
        };
        for target in ours(&package.dependencies) {
            wrong.push(format!("{} -> {target}", package.name));
        }
        for target in ours(&package.dev_dependencies) {
            if !TEST_CRATES.contains(&target.as_str()) {
                wrong.push(format!("{} -> {target} (in tests)", package.name));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that the architecture does not list: {wrong:#?}");
}

#[test]
fn test_crates_stay_out_of_the_server() {
    let wrong: Vec<String> = packages()
        .iter()
        .filter(|package| package.name == "sluice")
        .flat_map(|package| package.dependencies.iter())
        .filter(|name| TEST_CRATES.contains(&name.as_str()))
        .cloned()
        .collect();
    assert!(wrong.is_empty(), "the server depends on what only tests may use: {wrong:?}");
}

#[test]
fn pure_crates_have_no_runtime_and_no_io() {
    let is_impure = |name: &String| {
        IMPURE.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        })
    };
    let wrong: Vec<String> = packages()
        .iter()
        .filter(|package| PURE.contains(&package.name.as_str()))
        .flat_map(|package| {
            package
                .dependencies
                .iter()
                .filter(|name| is_impure(name))
                .map(|name| format!("{} -> {name}", package.name))
        })
        .collect();
    assert!(wrong.is_empty(), "pure crates get time, randomness and bytes as arguments: {wrong:?}");
}

#[test]
fn versions_live_in_the_workspace() {
    let root = root();
    let mut wrong = Vec::new();
    for folder in member_folders(&root) {
        let manifest = manifest(&root.join(&folder));
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
            let own = table.iter().filter(|(_, value)| value.get("workspace").is_none());
            wrong.extend(own.map(|(name, _)| format!("{folder}: {name}")));
        }
    }
    assert!(wrong.is_empty(), "versions live in `[workspace.dependencies]`: {wrong:?}");
}

#[test]
fn files_have_one_subject() {
    let root = root();
    let mut files = Vec::new();
    for folder in member_folders(&root) {
        for part in ["src", "tests", "benches"] {
            rust_files(&root.join(&folder).join(part), &mut files);
        }
    }
    assert!(files.len() > 50, "the sources were not found");
    let long: Vec<String> = files
        .iter()
        .map(|path| (path, fs::read_to_string(path).expect("a readable source").lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines", path.strip_prefix(&root).unwrap_or(path).display()))
        .collect();
    assert!(long.is_empty(), "files over {FILE_LINES_MAX} lines: {long:#?}");
}

/// All that `name` may use: its arrows, and theirs.
fn reachable(name: &str) -> BTreeSet<String> {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let direct = |name: &str| -> &[&str] {
        match arrows.get(name) {
            Some(targets) => targets,
            None if name.starts_with("connectors-") => CONNECTOR_ARROWS,
            None => &[],
        }
    };
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = direct(name).to_vec();
    while let Some(target) = open.pop() {
        if reached.insert(target.to_owned()) {
            open.extend(direct(target));
        }
    }
    reached
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace").to_owned()
}

fn manifest(folder: &Path) -> toml::Value {
    let path = folder.join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Folders of the members, and the empty text for the root.
fn member_folders(root: &Path) -> Vec<String> {
    let manifest = manifest(root);
    let members = manifest["workspace"]["members"].as_array().expect("a list of members");
    let named = members.iter().map(|member| member.as_str().expect("a folder").to_owned());
    std::iter::once(String::new()).chain(named).collect()
}

fn packages() -> Vec<Package> {
    let root = root();
    member_folders(&root)
        .into_iter()
        .map(|folder| {
            let manifest = manifest(&root.join(&folder));
            let names = |section: &str| -> BTreeSet<String> {
                let table = manifest.get(section).and_then(toml::Value::as_table);
                table.into_iter().flat_map(|table| table.keys().cloned()).collect()
            };
            let mut dependencies = names("dependencies");
            dependencies.extend(names("build-dependencies"));
            let name = manifest["package"]["name"].as_str().expect("a name").to_owned();
            Package { name, folder, dependencies, dev_dependencies: names("dev-dependencies") }
        })
        .collect()
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
