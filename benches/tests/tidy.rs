//! Checks on the tree itself: who imports whom, how large files are, whether documents are true.
//!
//! Plain text, no build: what a reviewer would have to look for by hand. A failure names the file,
//! the line and what was expected.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A file of code may not be longer than this, its tests not counted.
const FILE_LINES_MAX: usize = 600;
const README_LINES_MAX: usize = 150;
const ARCHITECTURE_LINES_MAX: usize = 500;
/// Blocks of own `unsafe` in the whole tree.
const UNSAFE_MAX: usize = 20;

/// Who may import whom: a crate, where it lives, and the crates of this workspace it may name.
const EDGES: [Room; 11] = [
    Room { name: "onrush-proto", dir: "proto", may: &[] },
    Room { name: "onrush-grpc", dir: "proto/grpc", may: &[] },
    Room { name: "onrush-storage", dir: "storage", may: &[] },
    Room { name: "onrush-engine", dir: "engine", may: &["proto", "storage"] },
    Room { name: "onrush-scoring", dir: "engine/scoring", may: &[] },
    Room { name: "onrush-sim", dir: "engine/sim", may: &["proto", "storage", "engine"] },
    Room { name: "onrush-net", dir: "net", may: &["proto", "grpc"] },
    Room {
        name: "onrush-services",
        dir: "services",
        may: &["proto", "grpc", "storage", "engine", "scoring", "net"],
    },
    Room { name: "onrush-loadgen", dir: "loadgen", may: &["proto", "grpc", "engine", "net", "services"] },
    Room {
        name: "onrush-benches",
        dir: "benches",
        may: &["proto", "grpc", "storage", "engine", "sim", "net", "services", "loadgen"],
    },
    Room {
        name: "onrush-peers",
        dir: "benches/peers",
        may: &["proto", "grpc", "storage", "engine", "net", "services", "benches"],
    },
];

/// What the core is built without: whoever embeds the engine gets no runtime and no socket.
const EDGE_STACK: [&str; 8] = ["tokio", "tonic", "axum", "hyper", "rustls", "prost", "reqwest", "clap"];
/// Words that have no place in code. Cut in two here, or this file would find itself.
const UNFINISHED: [&str; 6] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), "todo!", "unimplemented!", "dbg!("];
const BANNED_NAMES: [&str; 9] =
    ["utils", "util", "common", "helpers", "helper", "misc", "manager", "stuff", "shared"];
/// Crypto by one provider: two of them in one process panic when TLS starts.
const BANNED_CRATES: [&str; 4] = ["ring", "openssl-sys", "native-tls", "protobuf-build"];
const README_COMMANDS: [&str; 2] =
    ["cargo run --release --bin loadgen -- flash-sale", "cargo test --workspace"];

struct Room {
    name: &'static str,
    dir: &'static str,
    may: &'static [&'static str],
}

impl Room {
    fn path(&self) -> PathBuf {
        root().join(self.dir)
    }

    fn manifest(&self) -> String {
        read(&self.path().join("Cargo.toml"))
    }
}

fn root() -> PathBuf {
    // Asked when it runs: a binary that was built in another checkout would look there.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&own).parent().map(Path::to_path_buf).unwrap_or_default()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// Every file of the tree with its path from the root, build output and data left out.
fn tree() -> Vec<(String, PathBuf)> {
    fn walk(dir: &Path, inner: &str, found: &mut Vec<(String, PathBuf)>) {
        let entries =
            fs::read_dir(dir).unwrap_or_else(|error| panic!("cannot list {}: {error}", dir.display()));
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let hidden = name.starts_with('.') && name != ".ci";
            let output = name == "onrush-data" || name.starts_with("target") || name == "__pycache__";
            if hidden || output {
                continue;
            }
            let path = entry.path();
            let from_root = if inner.is_empty() { name } else { format!("{inner}/{name}") };
            match path.is_dir() {
                true => walk(&path, &from_root, found),
                false => found.push((from_root, path)),
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), "", &mut found);
    found.sort();
    found
}

/// Every Rust file below a `src`.
fn sources() -> Vec<(String, String)> {
    let rust = |path: &str| path.ends_with(".rs") && path.contains("src/");
    tree().into_iter().filter(|(name, _)| rust(name)).map(|(name, path)| (name, read(&path))).collect()
}

fn assert_none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// Sections of a manifest whose name ends in `dependencies`, as (section, line).
fn dependency_lines(manifest: &str) -> Vec<(String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
            // `[dependencies.onrush-engine]` names its crate in the heading.
            if section.contains("dependencies.") {
                found.push((section.clone(), section.clone()));
            }
        } else if section.contains("dependencies") && !line.is_empty() {
            found.push((section.clone(), line.to_owned()));
        }
    }
    found
}

/// The words of a text: letters, digits, `-` and `_`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).filter(|word| !word.is_empty())
}

/// The text between single backticks, fenced blocks left out.
fn quoted(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// README, CONTRIBUTING and everything under `docs/`, but for what others wrote the form of.
fn documents() -> Vec<(String, String)> {
    let is_document = |name: &str| {
        name.ends_with(".md") && (name.starts_with("docs/") || !name.contains('/')) && name != "CHANGELOG.md"
    };
    tree().into_iter().filter(|(name, _)| is_document(name)).map(|(name, path)| (name, read(&path))).collect()
}

#[test]
fn crates_import_only_what_they_may() {
    let mut found = Vec::new();
    for room in &EDGES {
        for (section, line) in dependency_lines(&room.manifest()) {
            let named = words(&line).filter_map(|word| word.strip_prefix("onrush-"));
            for other in named.filter(|other| !room.may.contains(other)) {
                found.push(format!(
                    "{} names onrush-{other} in [{section}]; it may name {:?}",
                    room.name, room.may
                ));
            }
        }
    }
    assert_none(&found, "expected only the edges of EDGES");
}

#[test]
fn every_member_has_its_place() {
    let manifest = read(&root().join("Cargo.toml"));
    let list = |key: &str| -> BTreeSet<String> {
        let tail = manifest.split_once(&format!("\n{key} = [")).map_or("", |(_, tail)| tail);
        let inner = tail.split_once(']').map_or("", |(inner, _)| inner);
        inner.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let members = list("members");
    let there: BTreeSet<String> = EDGES.iter().map(|room| room.dir.to_owned()).collect();
    assert_eq!(members, there, "expected the members of the workspace to be the crates of EDGES");
    for room in &EDGES {
        assert!(
            room.manifest().contains(&format!("name = \"{}\"", room.name)),
            "{} names another crate",
            room.dir
        );
    }
    // `cargo run` is `onrush serve`, and the README's `--bin loadgen` is found from the root.
    let default = list("default-members");
    for needed in ["services", "loadgen"] {
        assert!(default.contains(needed), "expected {needed} among default-members, found {default:?}");
    }
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    let takes = |manifest: &str| manifest.replace(' ', "").contains("[lints]\nworkspace=true");
    let found: Vec<_> =
        EDGES.iter().filter(|room| !takes(&room.manifest())).map(|room| room.name.to_owned()).collect();
    assert_none(&found, "expected [lints] workspace = true");
}

#[test]
fn the_core_builds_without_the_edges() {
    let mut found = Vec::new();
    for room in EDGES
        .iter()
        .filter(|room| ["proto", "storage", "engine", "engine/scoring", "engine/sim"].contains(&room.dir))
    {
        let lines = dependency_lines(&room.manifest());
        let edges = lines.iter().filter(|(_, line)| words(line).any(|word| EDGE_STACK.contains(&word)));
        found.extend(edges.map(|(_, line)| format!("{}: {line}", room.name)));
    }
    for (name, text) in sources() {
        let core = ["proto/src/", "storage/src/", "engine/src/"].iter().any(|dir| name.starts_with(dir));
        if core && text.contains("std::net") {
            found.push(format!("{name}: std::net"));
        }
        if name.starts_with("storage/src/") && text.contains("onrush_") {
            found.push(format!("{name}: storage knows no shop"));
        }
    }
    assert_none(&found, "expected no runtime, socket or RPC in the core");
}

#[test]
fn services_do_not_know_each_other() {
    let services = ["product", "order", "payment", "user", "shipping", "notification", "recommendation"];
    let mut found = Vec::new();
    for (name, text) in sources() {
        let Some(own) = services.iter().find(|own| name.starts_with(&format!("services/src/{own}/"))) else {
            continue;
        };
        let others = services.iter().filter(|other| *other != own);
        let named = others.filter(|other| text.contains(&format!("crate::{other}::")));
        found.extend(named.map(|other| format!("{name} imports {other}")));
    }
    assert_none(&found, "expected services to meet in the engine and its log only");
}

#[test]
fn the_load_generator_boots_servers_in_one_place() {
    let knows = |(name, text): &(String, String)| {
        let elsewhere = name.starts_with("loadgen/src/") && !name.starts_with("loadgen/src/target/");
        // The files of the past are read by both.
        elsewhere && text.replace("onrush_services::retail", "").contains("onrush_services")
    };
    let found: Vec<_> = sources().into_iter().filter(knows).map(|(name, _)| name).collect();
    assert_none(&found, "expected onrush_services in loadgen/src/target only");
}

#[test]
fn files_hold_one_noun() {
    let mut found = Vec::new();
    for (name, path) in tree().into_iter().filter(|(name, _)| name.ends_with(".rs")) {
        let lines = read(&path).lines().take_while(|line| *line != "#[cfg(test)]").count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{name}: {lines} lines"));
        }
    }
    assert_none(&found, &format!("expected files of at most {FILE_LINES_MAX} lines"));
}

#[test]
fn names_say_what_is_inside() {
    let banned = |part: &str| BANNED_NAMES.contains(&part.trim_end_matches(".rs"));
    let found: Vec<_> =
        tree().into_iter().map(|(name, _)| name).filter(|name| name.split('/').any(banned)).collect();
    assert_none(&found, "expected nouns, found names that hold anything");
}

#[test]
fn nothing_is_left_unfinished() {
    let mut found = Vec::new();
    for (name, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if UNFINISHED.iter().any(|word| line.contains(word)) || line.contains("cfg(simulator") {
                found.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none(&found, "expected finished code without a special case for the simulator");
}

#[test]
fn unsafe_stays_rare() {
    let blocks = |text: &str| text.matches("unsafe {").count() + text.matches("unsafe impl").count();
    let found: BTreeMap<_, _> = sources()
        .into_iter()
        .map(|(name, text)| (name, blocks(&text)))
        .filter(|(_, blocks)| *blocks > 0)
        .collect();
    assert!(found.values().sum::<usize>() <= UNSAFE_MAX, "expected at most {UNSAFE_MAX}, found {found:?}");
}

#[test]
fn every_crate_comes_from_one_registry() {
    let lock = read(&root().join("Cargo.lock"));
    let elsewhere = |line: &&str| line.starts_with("source = ") && !line.contains("crates.io");
    let found: Vec<_> = lock.lines().filter(elsewhere).map(str::to_owned).collect();
    assert_none(&found, "expected crates of crates.io");
}

/// The lock file also names what only a feature that nobody turns on would build.
#[test]
fn one_crypto_provider_is_built() {
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["tree", "--workspace", "--locked", "--offline", "--prefix", "none"]);
    let output = cargo.output().unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && tree.contains("aws-lc-rs"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let banned = |line: &&str| BANNED_CRATES.iter().any(|banned| line.split(' ').next() == Some(banned));
    let found: Vec<_> = tree.lines().filter(banned).map(str::to_owned).collect();
    assert_none(&found, "expected no second crypto provider");
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = read(&root().join("Cargo.toml"));
    let crates = read(&root().join("docs/crates.md"));
    let reasons: BTreeSet<&str> = words(&crates).collect();
    let lines = dependency_lines(&manifest);
    let names = lines.iter().filter_map(|(_, line)| line.split_once(" = ")).map(|(name, _)| name.to_owned());
    let found: Vec<_> =
        names.filter(|name| !name.starts_with("onrush-") && !reasons.contains(name.as_str())).collect();
    assert_none(&found, "expected a row for every dependency in docs/crates.md");
}

#[test]
fn ci_begins_with_the_tests() {
    let ci = read(&root().join(".ci/run"));
    let steps = ci.lines().map(str::trim).filter(|line| line.starts_with("step ") && line.contains("cargo "));
    let first: Vec<&str> = steps.take(1).collect();
    assert_eq!(first, ["step test cargo test --workspace"], "expected the README's test command first");
    let changelog = read(&root().join("CHANGELOG.md"));
    assert!(changelog.contains("\n## Unreleased\n"), "expected a section Unreleased in CHANGELOG.md");
}

#[test]
fn the_readme_fits_and_names_the_two_commands() {
    let readme = read(&root().join("README.md"));
    for command in README_COMMANDS {
        let alone =
            readme.lines().any(|line| line.trim_start_matches("$ ").split("  #").next() == Some(command));
        assert!(alone, "expected a line with `{command}` in README.md");
    }
    assert!(readme.lines().count() < README_LINES_MAX, "expected README.md below {README_LINES_MAX} lines");
}

#[test]
fn the_readme_embeds_what_the_example_does() {
    let readme = read(&root().join("README.md"));
    let example = read(&root().join("engine/examples/embed.rs"));
    let rust = readme.split("```rust\n").nth(1).and_then(|tail| tail.split("```").next()).unwrap_or_default();
    let known: BTreeSet<&str> = example.lines().map(str::trim).collect();
    let found: Vec<_> = rust
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//") && !known.contains(line))
        .map(str::to_owned)
        .collect();
    assert!(!rust.is_empty(), "expected a block of Rust in README.md");
    assert_none(&found, "expected lines of engine/examples/embed.rs, which is compiled");
}

#[test]
fn the_readme_claims_what_the_benchmarks_say() {
    let (readme, benchmarks) = (read(&root().join("README.md")), read(&root().join("docs/benchmarks.md")));
    let rows = |text: &str| -> Vec<Vec<String>> {
        let table = text.lines().filter(|line| line.starts_with("| "));
        let cells = |line: &str| line.split('|').skip(1).take(4).map(|cell| cell.trim().to_owned()).collect();
        table.map(cells).filter(|row: &Vec<String>| row.len() == 4).collect()
    };
    let known = rows(&benchmarks);
    let found: Vec<_> =
        rows(&readme).into_iter().filter(|row| !known.contains(row)).map(|row| row.join(" | ")).collect();
    assert!(!rows(&readme).is_empty(), "expected a table of figures in README.md");
    assert_none(&found, "expected the rows of docs/benchmarks.md, cell by cell");
}

#[test]
fn paths_in_documents_exist() {
    let mut found = Vec::new();
    for (name, text) in documents() {
        for path in quoted(&text).into_iter().filter_map(as_path) {
            let there = root().join(path).exists() || root().join("docs").join(path).exists();
            if !there {
                found.push(format!("{name}: {path}"));
            }
        }
    }
    assert_none(&found, "expected every path that a document names");
}

/// What looks like a path from the root: a room's folder or a file with an ending.
fn as_path(token: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
    let inside = !token.starts_with(['/', '.', '-']) || token.starts_with(".ci");
    let ends = [".rs", ".md", ".toml", ".proto", ".sh", ".lock"].iter().any(|end| token.ends_with(end));
    let is_path = inside && token.chars().all(plain) && (token.contains('/') || ends);
    is_path.then(|| token.trim_end_matches('/'))
}

#[test]
fn identifiers_in_the_architecture_exist() {
    let known: BTreeSet<String> = tree()
        .into_iter()
        .filter(|(name, _)| name.ends_with(".rs") || name.ends_with(".proto"))
        .flat_map(|(_, path)| words(&read(&path)).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let architecture = read(&root().join("docs/ARCHITECTURE.md"));
    let mut found = BTreeSet::new();
    for token in quoted(&architecture) {
        let camel = token.starts_with(|c: char| c.is_ascii_uppercase())
            && token.contains(|c: char| c.is_ascii_lowercase());
        let name = token.split("::").all(|part| part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
        if camel && name {
            found.extend(token.split("::").filter(|part| !known.contains(*part)).map(str::to_owned));
        }
    }
    assert_none(&found.into_iter().collect::<Vec<_>>(), "expected types that are in the code");
    assert!(
        architecture.lines().count() < ARCHITECTURE_LINES_MAX,
        "expected fewer than {ARCHITECTURE_LINES_MAX} lines"
    );
}

#[test]
fn topics_in_documents_exist() {
    let facts = read(&root().join("proto/src/fact.rs"));
    let rooms = ["order", "payment", "stock", "shipping", "notification", "user"];
    let mut found = Vec::new();
    for (name, text) in documents() {
        for token in quoted(&text) {
            let topic = token.split_once('.').filter(|(subject, _)| rooms.contains(subject));
            let plain = token.chars().all(|c| c.is_ascii_lowercase() || c == '.');
            if topic.is_some() && plain && !facts.contains(&format!("\"{token}\"")) {
                found.push(format!("{name}: {token}"));
            }
        }
    }
    assert_none(&found, "expected topics of proto/src/fact.rs");
}

#[test]
fn commands_in_documents_exist() {
    let mut found = Vec::new();
    for (name, text) in documents() {
        for line in text.lines().filter(|line| line.contains("cargo ")) {
            let parts: Vec<&str> = words(line).collect();
            for pair in parts.windows(2) {
                let missing = match *pair {
                    ["-p", package] => !EDGES.iter().any(|room| room.name == package),
                    ["--example", example] => !is_target("examples", example),
                    ["--test", test] => !is_target("tests", test),
                    ["--bench", bench] => !is_target("benches", bench),
                    _ => false,
                };
                if missing {
                    found.push(format!("{name}: {} {}", pair[0], pair[1]));
                }
            }
        }
    }
    assert_none(&found, "expected packages, examples, tests and benches that are there");
}

/// True if a crate has a target of this kind and name.
fn is_target(kind: &str, target: &str) -> bool {
    let has = |room: &Room| {
        let dir = room.path().join(kind);
        dir.join(format!("{target}.rs")).is_file() || dir.join(target).join("main.rs").is_file()
    };
    EDGES.iter().any(has)
}
