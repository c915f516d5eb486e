//! The house rules that a machine can check: the walls between packages and files, sizes, names, limits.
//!
//! Uses the standard library only and finds the tree by itself, so that `rustc --test tests/tidy.rs` runs it in
//! seconds, before anything is built. It reads words, not types: a rule names what must not be *written* in a place.
//! Every exception stands in a list here with its reason; the lists should get shorter.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A word and the only places (path prefixes) that may write it.
struct Wall {
    word: &'static str,
    only_in: &'static [&'static str],
}

/// Engines and effects, each behind one door.
const WALLS: &[Wall] = &[
    Wall { word: "sled", only_in: &["blockstore/src/index"] },
    Wall { word: "redb", only_in: &["blockstore/src/state.rs"] },
    Wall { word: "bincode", only_in: &["blockstore/src/stored.rs"] },
    Wall { word: "libp2p", only_in: &["blockstore/network/"] },
    Wall { word: "libp2p_stream", only_in: &["blockstore/network/"] },
    Wall { word: "iroh", only_in: &["blockstore/network/"] },
    // The lease and the dispatcher call members: the type of a channel, the codes of a refusal.
    Wall {
        word: "tonic",
        only_in: &[
            "proto/",
            "node/src/rpc/",
            "client/",
            "tests/",
            "node/src/lease/mod.rs",
            "node/src/scheduler/dispatch.rs",
        ],
    },
    Wall { word: "axum", only_in: &["node/src/http/"] },
    // Core checks signatures; the node holds the key that makes them.
    Wall {
        word: "ed25519_dalek",
        only_in: &[
            "node/core/src/records/",
            "node/core/src/identity.rs",
            "node/src/records/",
            "node/src/node.rs",
            "tests/",
        ],
    },
    Wall { word: "landlock", only_in: &["node/src/executor/"] },
    Wall { word: "seccompiler", only_in: &["node/src/executor/"] },
    Wall { word: "SystemTime", only_in: &["node/src/clock.rs", "tests/"] },
    Wall { word: "rand", only_in: &["node/src/entropy.rs", "blockstore/network/", "tests/"] },
];

/// Words that start a task or a thread, and the one file of each package that owns them.
const SPAWNING: &[&str] = &[
    "tokio::spawn",
    "task::spawn",
    "task::spawn_blocking",
    "task::spawn_local",
    "thread::spawn",
    "thread::Builder",
    "thread::scope",
    "TaskTracker::new",
    "JoinSet::new",
];
const MAY_SPAWN: &[&str] = &[
    "node/src/task.rs",
    "blockstore/network/src/task.rs",
    "blockstore/src/thread.rs",
    "client/src/task.rs",
    // The thread that starts a process must live as long as the process; a built-in step that crashes is that
    // step's failure. Both need the handle itself.
    "node/src/executor/launcher/",
    "node/src/executor/builtin/mod.rs",
    "tests/",
];

/// What core must not know: it decides, and is told the time.
const NOT_IN_CORE: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant",
    "rand",
    "getrandom",
    "libp2p",
    "tonic",
    "prost",
    "async",
    "await",
    "unsafe",
];

/// Queues that never push back.
const UNBOUNDED: &[&str] = &[
    "unbounded_channel",
    "UnboundedSender",
    "UnboundedReceiver",
    "mpsc::unbounded",
    "channel::unbounded",
    "unbounded()",
    "mpsc::channel()",
];

/// Left-overs that must not be committed.
const LEFT_OVERS: &[&str] = &["#[ignore", "todo!", "dbg!", "unimplemented!"];

/// Waiting by the clock; only the harness's one deadline loop may.
const SLEEPING: &[&str] = &["thread::sleep", "time::sleep", "tokio::time::sleep"];
const TESTS_MAY_SLEEP: &[&str] = &[
    "tests/src/wait.rs",
    "tests/bench/", // no tests: they measure a node that has had time to settle, and look at processes
];

/// The packages of ours that each package may import.
const IMPORTS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("blockstore", &[]),
    ("blockstore/network", &["artdag-blockstore"]),
    ("node/core", &[]),
    (
        "node",
        &[
            "artdag-core",
            "artdag-blockstore",
            "artdag-network",
            "artdag-proto",
            // `artdag-node demo` is a user of its own cluster: it submits as any client does.
            "artdag-client",
        ],
    ),
    ("client", &["artdag-proto", "artdag-blockstore"]),
    ("tests", &["artdag-core", "artdag-blockstore", "artdag-network", "artdag-proto", "artdag-node", "artdag-client"]),
];

/// Third-party packages that a package's manifest must not name.
const NOT_IN_MANIFEST: &[(&str, &[&str])] = &[
    ("proto", &["libp2p", "redb", "sled", "axum"]),
    ("blockstore", &["libp2p", "tonic", "axum"]),
    ("blockstore/network", &["tonic", "axum", "redb", "sled"]),
    ("node/core", &["tokio", "rand", "libp2p", "tonic", "prost", "redb", "sled", "axum", "futures", "rustix"]),
    ("node", &["libp2p", "redb", "sled"]),
    ("client", &["libp2p", "redb", "sled", "axum"]),
];

const LONGEST_FUNCTION: usize = 70;
const LONGEST_FILE: usize = 500;

/// Functions over the limit, as "path: name". Make it shorter, not longer.
const LONG_FUNCTIONS: &[&str] = &[];

/// Files over the limit.
const LONG_FILES: &[&str] = &[];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"];

// ---------------------------------------------------------------- the rules

#[test]
fn engines_and_effects_stay_behind_their_walls() {
    let mut wrong = Wrong::default();
    for source in sources() {
        for wall in WALLS {
            if starts_with_any(&source.path, wall.only_in) {
                continue;
            }
            // A local module may carry an engine's name; a path into it (`sled::`, `use sled`) may not be written.
            for line in lines_that_enter(&source.code, wall.word) {
                wrong.at(&source, line, &format!("`{}` may be named only in {:?}", wall.word, wall.only_in));
            }
        }
    }
    wrong.expect_none();
}

#[test]
fn core_only_decides() {
    let mut wrong = Wrong::default();
    for source in sources().iter().filter(|s| s.path.starts_with("node/core/src/")) {
        for word in NOT_IN_CORE {
            for line in lines_with_word(&source.code, word) {
                wrong.at(source, line, &format!("core must not know `{word}`"));
            }
        }
    }
    wrong.expect_none();
}

#[test]
fn tasks_start_only_where_they_are_owned() {
    let mut wrong = Wrong::default();
    let owned = |source: &Source| !source.is_test && !starts_with_any(&source.path, MAY_SPAWN);
    for source in sources().iter().filter(|source| owned(source)) {
        for word in SPAWNING {
            for line in lines_with_word(&source.code, word) {
                wrong.at(source, line, &format!("`{word}` only in {MAY_SPAWN:?}"));
            }
        }
    }
    wrong.expect_none();
}

#[test]
fn every_queue_has_a_bound() {
    let mut wrong = Wrong::default();
    for source in sources() {
        for word in UNBOUNDED {
            for line in lines_with_word(&source.code, word) {
                wrong.at(&source, line, &format!("`{word}` grows in silence: give it a bound"));
            }
        }
    }
    wrong.expect_none();
}

#[test]
fn nothing_is_left_over() {
    let mut wrong = Wrong::default();
    for source in sources() {
        for word in LEFT_OVERS {
            for line in lines_with_word(&source.whole, word) {
                wrong.at(&source, line, &format!("`{word}` must not be committed"));
            }
        }
    }
    wrong.expect_none();
}

#[test]
fn tests_wait_for_events_not_for_the_clock() {
    let mut wrong = Wrong::default();
    for source in sources() {
        if starts_with_any(&source.path, TESTS_MAY_SLEEP) {
            continue;
        }
        // In a file of tests everything counts, elsewhere what stands under `#[cfg(test)]`.
        let text = if source.is_test { &source.whole } else { &source.tests };
        for word in SLEEPING {
            for line in lines_with_word(text, word) {
                wrong.at(&source, line, "no sleeps in tests: wait for the event with a deadline");
            }
        }
    }
    wrong.expect_none();
}

#[test]
fn functions_are_short() {
    let mut wrong = Wrong::default();
    let mut long = BTreeSet::new();
    for source in sources().iter().filter(|s| !s.is_test) {
        for (line, name, length) in functions(&source.code) {
            let key = format!("{}: {name}", source.path);
            if length <= LONGEST_FUNCTION {
                continue;
            }
            if !LONG_FUNCTIONS.contains(&key.as_str()) {
                wrong.at(source, line, &format!("`{name}` has {length} lines, the limit is {LONGEST_FUNCTION}"));
            }
            long.insert(key);
        }
    }
    for listed in LONG_FUNCTIONS.iter().filter(|l| !long.contains(**l)) {
        wrong.say(&format!("LONG_FUNCTIONS lists `{listed}`, which is short now: take it out"));
    }
    wrong.expect_none();
}

#[test]
fn files_are_short() {
    let mut wrong = Wrong::default();
    let mut long = BTreeSet::new();
    for source in sources().iter().filter(|s| !s.is_test) {
        let length = source.code.lines().filter(|l| !l.starts_with(TEST_LINE)).count();
        if length <= LONGEST_FILE {
            continue;
        }
        if !LONG_FILES.contains(&source.path.as_str()) {
            wrong.say(&format!("{}: {length} lines without tests, the limit is {LONGEST_FILE}", source.path));
        }
        long.insert(source.path.clone());
    }
    for listed in LONG_FILES.iter().filter(|l| !long.contains(**l)) {
        wrong.say(&format!("LONG_FILES lists `{listed}`, which is short now: take it out"));
    }
    wrong.expect_none();
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut wrong = Wrong::default();
    for source in sources() {
        let first = source.text.lines().find(|l| !l.trim().is_empty()).unwrap_or("");
        if !first.starts_with("//! ") {
            wrong.at(&source, 1, "starts without a `//!` header");
        }
    }
    wrong.expect_none();
}

#[test]
fn names_are_nouns() {
    let mut wrong = Wrong::default();
    for source in sources() {
        for part in source.path.trim_end_matches(".rs").split('/') {
            if part.split('_').any(|word| EMPTY_NAMES.contains(&word)) {
                wrong.say(&format!("{}: `{part}` says nothing; find the noun", source.path));
            }
        }
        for (number, line) in source.code.lines().enumerate() {
            let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            while let Some(word) = words.next() {
                if !matches!(word, "mod" | "struct" | "enum" | "trait") {
                    continue;
                }
                let name = words.next().unwrap_or("").to_lowercase();
                if EMPTY_NAMES.iter().any(|empty| name == *empty || (word != "mod" && name.ends_with(empty))) {
                    wrong.at(&source, number + 1, &format!("`{name}` says nothing; find the noun"));
                }
            }
        }
    }
    wrong.expect_none();
}

#[test]
fn packages_import_only_what_the_tree_allows() {
    let mut wrong = Wrong::default();
    for (package, allowed) in IMPORTS {
        for (line, name, _) in dependencies(package) {
            if name.starts_with("artdag-") && !allowed.contains(&name.as_str()) {
                wrong.say(&format!("{package}/Cargo.toml:{line}: {package} must not import {name}"));
            }
        }
    }
    for (package, refused) in NOT_IN_MANIFEST {
        for (line, name, _) in dependencies(package) {
            if refused.iter().any(|r| name == *r || name.starts_with(&format!("{r}-"))) {
                wrong.say(&format!("{package}/Cargo.toml:{line}: {name} has no place in {package}"));
            }
        }
    }
    let members = manifest_list(&read(&root().join("Cargo.toml")), "members");
    let known: BTreeSet<String> = IMPORTS.iter().map(|(p, _)| (*p).to_string()).collect();
    if members != known {
        wrong.say(&format!("the workspace has {members:?}, tidy knows {known:?}"));
    }
    wrong.expect_none();
}

#[test]
fn third_party_versions_stand_once_with_a_reason() {
    let mut wrong = Wrong::default();
    for (package, _) in IMPORTS {
        for (line, name, rest) in dependencies(package) {
            if !rest.contains("workspace = true") {
                wrong.say(&format!("{package}/Cargo.toml:{line}: {name} must come from the workspace"));
            }
        }
    }
    let manifest = read(&root().join("Cargo.toml"));
    for (number, line) in section(&manifest, |name| name == "workspace.dependencies") {
        if line.contains("path = ") {
            continue;
        }
        let reason = line.split_once('#').map_or("", |(_, reason)| reason.trim());
        if reason.len() < 4 {
            wrong.say(&format!("Cargo.toml:{number}: say why: {line}"));
        }
        if line.contains("\"*\"") || line.contains("git = ") {
            wrong.say(&format!("Cargo.toml:{number}: a version of the registry, please: {line}"));
        }
    }
    wrong.expect_none();
}

#[test]
fn the_reader_of_source_is_right() {
    let text = "fn a() { let s = \"tokio::spawn // {\"; } // sled::\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\nfn c<'a>(x: &'a str) -> char {\n  '{'\n}\n";
    let source = Source::new("x/src/y.rs".into(), text.into());
    assert!(lines_with_word(&source.code, "tokio::spawn").is_empty());
    assert!(lines_that_enter(&source.code, "sled").is_empty());
    let found: Vec<_> = functions(&source.code).into_iter().map(|(_, name, length)| (name, length)).collect();
    assert_eq!(found, [("a".to_string(), 1), ("c".to_string(), 3)]);
    assert_eq!(lines_with_word("use std::sync::mpsc::channel();\nxmpsc::channel();\n", "mpsc::channel()"), [1]);
    assert_eq!(
        lines_that_enter("use sled::Db;\nlet sled = 1;\nmod sled;\nself::sled::x();\nuse sled;\n", "sled"),
        [1, 5]
    );
    let raw = code_only("r#\"a \" // b\"# x /* y /* z */ */ w b'\\'' '\\u{1}' 'a: loop {}");
    assert!(raw.contains('x') && raw.contains('w') && raw.contains("'a: loop {}"), "{raw}");
    assert!(!raw.contains('y') && !raw.contains('z'), "{raw}");
}

// ------------------------------------------------------- reading the sources

/// Lines of tests are kept, as this mark, so that numbers stay true.
const TEST_LINE: &str = "\u{1}";

struct Source {
    path: String,
    text: String,
    /// Without comments and the insides of strings.
    whole: String,
    /// The same without what stands under `#[cfg(test)]`.
    code: String,
    /// Only what stands under `#[cfg(test)]`.
    tests: String,
    is_test: bool,
}

impl Source {
    fn new(path: String, text: String) -> Source {
        let is_test = path.starts_with("tests/") || path.contains("/tests/");
        let whole = code_only(&text);
        let (code, tests) = part_tests(&whole);
        Source { path, text, whole, code, tests, is_test }
    }
}

impl Source {
    /// Where the modules lie that this file declares under `#[cfg(test)]`.
    fn files_of_tests(&self) -> Vec<String> {
        let (folder, name) = self.path.rsplit_once('/').expect("a source lies in a package");
        let folder = match name {
            "lib.rs" | "main.rs" | "mod.rs" => folder.to_string(),
            name => format!("{folder}/{}", name.trim_end_matches(".rs")),
        };
        let declared = self.tests.lines().filter_map(|line| {
            let name = line.trim().trim_start_matches("pub(crate) ").strip_prefix("mod ")?;
            name.strip_suffix(';')
        });
        let paths = declared.flat_map(|name| [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")]);
        paths.collect()
    }
}

fn root() -> PathBuf {
    let mut folder = std::env::current_dir().expect("a test has a working directory");
    while !folder.join("deny.toml").exists() {
        assert!(folder.pop(), "run this inside the workspace");
    }
    folder
}

fn sources() -> Vec<Source> {
    let root = root();
    let mut paths = Vec::new();
    for (package, _) in IMPORTS {
        rust_files(&root.join(package), &mut paths);
    }
    paths.sort();
    paths.dedup(); // node/core lies inside node
    assert!(paths.len() > 10, "found only {paths:?}");
    let relative = |p: &PathBuf| {
        let below = p.strip_prefix(&root).expect("found below the root");
        below.to_string_lossy().into_owned()
    };
    let mut sources: Vec<Source> = paths.iter().map(|p| Source::new(relative(p), read(p))).collect();
    let tests: BTreeSet<String> = sources.iter().flat_map(Source::files_of_tests).collect();
    for source in &mut sources {
        source.is_test |= tests.contains(&source.path);
    }
    sources
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("folders of the tree can be read") {
        let path = entry.expect("entries of the tree can be read").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            rust_files(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The text with comments and the insides of strings and characters blanked; every line keeps its place.
fn code_only(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < bytes.len() {
        let end = token_to_blank(&bytes, i);
        if end == i {
            out.push(bytes[i]);
            i += 1;
            continue;
        }
        let quoted = bytes[i] != '/';
        for (at, c) in bytes[i..end].iter().enumerate() {
            let edge = quoted && (at == 0 || i + at + 1 == end);
            out.push(if *c == '\n' {
                '\n'
            } else if edge {
                '"'
            } else {
                ' '
            });
        }
        i = end;
    }
    out
}

/// Where the comment, string or character that starts at `i` ends; `i` if none does.
fn token_to_blank(text: &[char], i: usize) -> usize {
    let at = |n: usize| text.get(n).copied().unwrap_or('\0');
    let word_before = i > 0 && (at(i - 1).is_alphanumeric() || at(i - 1) == '_');
    match at(i) {
        '/' if at(i + 1) == '/' => (i..text.len()).find(|n| text[*n] == '\n').unwrap_or(text.len()),
        '/' if at(i + 1) == '*' => end_of_block_comment(text, i),
        'r' if !word_before || (i == 1 && at(0) == 'b') || (i > 1 && at(i - 1) == 'b') => {
            let hashes = (i + 1..text.len()).take_while(|n| text[*n] == '#').count();
            if at(i + 1 + hashes) != '"' {
                return i;
            }
            let mut n = i + 2 + hashes;
            while n < text.len() && !(at(n) == '"' && (1..=hashes).all(|h| at(n + h) == '#')) {
                n += 1;
            }
            (n + 1 + hashes).min(text.len())
        }
        '"' => {
            let mut n = i + 1;
            while n < text.len() && at(n) != '"' {
                n += if at(n) == '\\' { 2 } else { 1 };
            }
            (n + 1).min(text.len())
        }
        // A character, not a lifetime: 'x' or '\…'.
        '\'' if at(i + 1) == '\\' => (i + 3..text.len()).find(|n| text[*n] == '\'').map_or(text.len(), |n| n + 1),
        '\'' if at(i + 2) == '\'' => i + 3,
        _ => i,
    }
}

fn end_of_block_comment(text: &[char], start: usize) -> usize {
    let (mut depth, mut n) = (0, start);
    while n + 1 < text.len() {
        match (text[n], text[n + 1]) {
            ('/', '*') => (depth, n) = (depth + 1, n + 2),
            ('*', '/') => {
                (depth, n) = (depth - 1, n + 2);
                if depth == 0 {
                    return n;
                }
            }
            _ => n += 1,
        }
    }
    text.len()
}

/// Parts code into what is built for use and what only for tests, each with the other's lines marked.
fn part_tests(code: &str) -> (String, String) {
    let lines: Vec<&str> = code.lines().collect();
    let (mut built, mut tests) = (String::new(), String::new());
    let mut i = 0;
    while i < lines.len() {
        let end = if lines[i].trim_start().starts_with("#[cfg(test)]") { end_of_item(&lines, i) } else { i };
        if end == i {
            let _ = writeln!(built, "{}", lines[i]);
            let _ = writeln!(tests, "{TEST_LINE}");
            i += 1;
            continue;
        }
        for line in &lines[i..end] {
            let _ = writeln!(built, "{TEST_LINE}");
            let _ = writeln!(tests, "{line}");
        }
        i = end;
    }
    (built, tests)
}

/// The line after the item that starts at or after line `from`: its closing brace, or its semicolon if it has no body.
fn end_of_item(lines: &[&str], from: usize) -> usize {
    let mut depth = 0;
    for (number, line) in lines.iter().enumerate().skip(from) {
        for c in line.chars() {
            match c {
                '{' => depth += 1,
                '}' => {
                    depth -= 1;
                    if depth == 0 {
                        return number + 1;
                    }
                }
                ';' if depth == 0 => return number + 1,
                _ => {}
            }
        }
    }
    lines.len()
}

/// Every function with a body: its first line, name and number of lines.
fn functions(code: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        for at in places(line, "fn ") {
            let name: String = line[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if name.is_empty() {
                continue; // a type: fn(u8)
            }
            let mut rest = lines.clone();
            rest[number] = &line[at..];
            found.push((number + 1, name, end_of_item(&rest, number) - number));
        }
    }
    found
}

/// Where `word` stands in `line` as a whole word.
fn places(line: &str, word: &str) -> Vec<usize> {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    let ends_in_name = word.ends_with(part_of_name);
    let starts_in_name = word.starts_with(part_of_name);
    line.match_indices(word)
        .map(|(at, _)| at)
        .filter(|at| !starts_in_name || !line[..*at].ends_with(part_of_name))
        .filter(|at| !ends_in_name || !line[at + word.len()..].starts_with(part_of_name))
        .collect()
}

fn lines_with_word(code: &str, word: &str) -> Vec<usize> {
    let numbered = code.lines().enumerate();
    numbered.filter(|(_, line)| !places(line, word).is_empty()).map(|(n, _)| n + 1).collect()
}

/// Lines that write a path into the crate `name`: `name::…` (not `x::name::…`) or `use name`.
fn lines_that_enter(code: &str, name: &str) -> Vec<usize> {
    let enters = |line: &str| {
        places(line, name).into_iter().any(|at| {
            let (before, after) = (&line[..at], line[at + name.len()..].trim_start());
            let inner = before.ends_with("::") && before.trim() != "::";
            let imported = before.trim_end().ends_with("use") && (after.starts_with(';') || after.starts_with(" as "));
            !inner && (after.starts_with("::") || imported)
        }) || (name.starts_with(char::is_uppercase) && !places(line, name).is_empty())
    };
    code.lines().enumerate().filter(|(_, line)| enters(line)).map(|(n, _)| n + 1).collect()
}

fn starts_with_any(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| path.starts_with(prefix))
}

// ------------------------------------------------------ reading the manifests

/// The lines of the sections whose name `wanted` accepts, with their numbers; comments and blanks left out.
fn section(manifest: &str, wanted: impl Fn(&str) -> bool) -> Vec<(usize, String)> {
    let mut inside = false;
    let mut lines = Vec::new();
    for (number, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            inside = wanted(name);
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            lines.push((number + 1, line.to_string()));
        }
    }
    lines
}

/// Name and definition of every dependency of a package, of whatever kind.
fn dependencies(package: &str) -> Vec<(usize, String, String)> {
    let manifest = read(&root().join(package).join("Cargo.toml"));
    let lines = section(&manifest, |name| name.ends_with("dependencies"));
    let parted = lines.into_iter().filter_map(|(number, line)| {
        let (name, rest) = line.split_once('=')?;
        let (name, dotted) = name.trim().split_once('.').unwrap_or((name.trim(), ""));
        Some((number, name.to_string(), format!("{dotted} ={rest}")))
    });
    parted.collect()
}

fn manifest_list(manifest: &str, key: &str) -> BTreeSet<String> {
    let line = manifest.lines().find(|l| l.starts_with(&format!("{key} = ["))).expect("the manifest has the list");
    line.split('"').skip(1).step_by(2).map(str::to_string).collect()
}

/// What was found wrong; all of it is shown at once.
#[derive(Default)]
struct Wrong(String);

impl Wrong {
    fn at(&mut self, source: &Source, line: usize, what: &str) {
        let _ = writeln!(self.0, "{}:{line}: {what}", source.path);
    }

    fn say(&mut self, what: &str) {
        let _ = writeln!(self.0, "{what}");
    }

    fn expect_none(self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }
}
