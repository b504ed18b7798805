//! House rules that neither the compiler nor clippy knows, checked on the sources as text.
//!
//! - `rooms`: a room uses only the layers below it; some crates have one door; unsafe code lives
//!   in named files.
//! - `comments`: what is unsafe or atomic says why it holds; a longer file says what it is.
//! - `words`: line and file lengths, banned words, paths of one machine.
//!
//! A rule is a pure function from a file to findings, `path:line: what, and what to write instead`,
//! and each is tested beside its definition on text that breaks it and on text that keeps it.
//! `text` tells code from comments, strings and tests, so that a rule about code is not tripped by
//! prose. It is a lexer of a few states and no parser: the rules lean on the layout of rustfmt.
//!
//! An exemption is a line, with its reason, in a list beside its rule.

#[path = "tidy/comments.rs"]
mod comments;
#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/text.rs"]
mod text;
#[path = "tidy/words.rs"]
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use text::{File, Rule};

/// Folders that hold no text of ours: built, downloaded, or bytes that a test compares.
const SKIPPED_FOLDERS: &[&str] = &["target", ".git", "corpus", "artifacts", "golden"];

/// How the name of a file ends that is read; `LICENSE-*` and `Cargo.lock` are not ours to word.
const READ_ENDINGS: &[&str] = &[".rs", ".md", ".toml", ".sh", ".yml", ".ci/run"];

#[test]
fn sources_keep_the_house_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = read_all(root);
    for expected in ["src/lib.rs", "tests/tidy.rs"] {
        // A walk that finds nothing would find nothing wrong.
        assert!(files.iter().any(|file| file.path == expected), "the walk misses {expected}");
    }
    let rules: Vec<Rule> = [rooms::RULES, comments::RULES, words::RULES].concat();
    let findings: Vec<String> =
        files.iter().flat_map(|file| rules.iter().flat_map(|rule| rule(file))).collect();
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// Every file below `root` that the rules read, in the order of the paths.
fn read_all(root: &Path) -> Vec<File> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let (inner, here): (Vec<_>, Vec<_>) =
            entries(&folder).into_iter().partition(|path| path.is_dir());
        folders.extend(inner.into_iter().filter(|folder| !is_skipped(folder)));
        files.extend(here.iter().filter_map(|path| read(root, path)));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn is_skipped(folder: &Path) -> bool {
    SKIPPED_FOLDERS.iter().any(|name| folder.ends_with(name))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
    });
    entries.unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()))
}

/// The file, unless it is none of [`READ_ENDINGS`].
fn read(root: &Path, path: &Path) -> Option<File> {
    let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
    if !READ_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        return None;
    }
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {name}: {error}"));
    Some(File::parse(&name, &text))
}
