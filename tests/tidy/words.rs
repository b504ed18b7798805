//! Sizes and words: how long a line and a file may be, what is not written, and what is instead.

use crate::text::{File, Line, Rule, after_path, is_word_character, words};

pub const RULES: &[Rule] =
    &[columns, length, readme, banned_code, banned_names, banned_text, machine_paths];

const COLUMNS_MAX: usize = 100;
const FILE_LINES_MAX: usize = 500;
const README_LINES_MAX: usize = 200;

/// Folders whose files are kept short.
const SHORT_FOLDERS: &[&str] = &["src/", "tools/src/", "benches/", "examples/"];

/// Starts of paths that exist on one machine only. Taken apart, since this file is read too.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];

/// What is not left in any file, comments and strings included: the word, and what to do instead.
/// A word here is matched whole. Taken apart, since this file is read too.
const BANNED_TEXT: &[(&str, &str)] = &[
    (concat!("FIX", "ME"), "mend it now, or say in the header what is not done, and why"),
    (concat!("X", "XX"), "mend it now, or say in the header what is not done, and why"),
    (concat!("w", "ip"), "finish it, or leave it out"),
    (concat!("W", "IP"), "finish it, or leave it out"),
];

/// Like [`BANNED_TEXT`], but also as a part of a word, in any case.
const BANNED_STEMS: &[(&str, &str)] = &[
    (concat!("black", "list"), "write `denylist`, or what is refused"),
    (concat!("white", "list"), "write `allowlist`, or what is let through"),
];

/// Macros that are not left in code.
const BANNED_MACROS: &[(&str, &str)] = &[
    ("todo", "write it, or return an error"),
    ("unimplemented", "write it, or return an error"),
    ("dbg", "assert it in a test, or count it in `stats()`"),
];

/// No line of code is wider than the page; an address is not broken.
fn columns(file: &File) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    file.findings(|line| {
        let columns = line.raw.chars().count();
        (columns > COLUMNS_MAX && !line.raw.contains("://")).then(|| {
            format!("{columns} columns: break the line at {COLUMNS_MAX} (rustfmt), or name a part")
        })
    })
}

#[test]
fn a_line_fits_on_the_page() {
    let breaks = |path, text: &str| crate::text::bites(columns, path, text);
    let wide = "a".repeat(COLUMNS_MAX + 1);

    assert!(breaks("src/unit.rs", &wide));
    assert!(breaks("tests/model.rs", &wide));

    assert!(!breaks("src/unit.rs", &"ä".repeat(COLUMNS_MAX)), "columns, not bytes");
    assert!(!breaks("src/unit.rs", &format!("// Source: https://a.example/{wide}")));
    assert!(!breaks("README.md", &wide));
}

/// A file is one thing, and short; the tests in it do not count.
fn length(file: &File) -> Vec<String> {
    let is_counted =
        file.is_rust() && SHORT_FOLDERS.iter().any(|start| file.path.starts_with(start));
    let is_aside = |line: &Line| line.is_test && !file.path.starts_with("benches/");
    let lines = file.lines.iter().filter(|line| !is_aside(line)).count();
    let what = format!("{lines} lines, over {FILE_LINES_MAX}: make a folder, a file for each part");
    if is_counted && lines > FILE_LINES_MAX { vec![file.finding(1, &what)] } else { Vec::new() }
}

#[test]
fn a_file_is_short() {
    let breaks = |path, text: &str| crate::text::bites(length, path, text);
    let long = "fn a() {}\n".repeat(FILE_LINES_MAX + 1);

    for path in ["src/store/get.rs", "tools/src/dump.rs", "benches/get.rs", "examples/cache.rs"] {
        assert!(breaks(path, &long), "{path}");
        assert!(!breaks(path, &"fn a() {}\n".repeat(FILE_LINES_MAX)), "{path}");
    }
    assert!(!breaks("tests/model.rs", &long));
    assert!(!breaks("src/unit.rs", &format!("#[cfg(test)]\nmod tests {{\n    {long}}}\n")));
}

/// The README is read in one sitting.
fn readme(file: &File) -> Vec<String> {
    let lines = file.lines.len();
    let what = format!(
        "{lines} lines, over {README_LINES_MAX}: move details to the crate docs, and link them"
    );
    let is_long = file.path == "README.md" && lines > README_LINES_MAX;
    if is_long { vec![file.finding(1, &what)] } else { Vec::new() }
}

#[test]
fn the_readme_is_short() {
    let breaks = |path, text: &str| crate::text::bites(readme, path, text);

    assert!(breaks("README.md", &"a\n".repeat(README_LINES_MAX + 1)));
    assert!(!breaks("README.md", &"a\n".repeat(README_LINES_MAX)));
    assert!(!breaks("CHANGELOG.md", &"a\n".repeat(README_LINES_MAX + 1)));
}

/// Code holds nothing unfinished.
fn banned_code(file: &File) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    let is_shipped = file.path.starts_with("src/") || file.path.starts_with("tools/src/");
    file.findings(|line| {
        let code = line.code.as_str();
        if is_shipped && !line.is_test && code.contains(".unwrap()") {
            let what = "`unwrap()`: return the error, or write `expect(\"why it holds\")` under an \
                        `#[expect(clippy::expect_used, reason = …)]`";
            return Some(what.into());
        }
        // A part of another test that must run in a process of its own says whose.
        if code.trim_start().starts_with("#[ignore") && !line.raw.contains("run by ") {
            let what = "`#[ignore]`: make the test fast, or let a variable ask for the long run";
            return Some(what.into());
        }
        let calls = |name: &str| after_path(code, &format!("{name}!")).next().is_some();
        let (name, instead) = BANNED_MACROS.iter().find(|(name, _)| calls(name))?;
        Some(format!("`{name}!`: {instead}"))
    })
}

#[test]
fn code_is_finished() {
    let breaks = |path, text| crate::text::bites(banned_code, path, text);
    let path = "src/store/get.rs";

    assert!(breaks(path, "todo!()"));
    assert!(breaks(path, "unimplemented!(\"later\")"));
    assert!(breaks("tests/model.rs", "dbg!(a);"));
    assert!(breaks(path, "a.unwrap();"));
    assert!(breaks("tools/src/dump.rs", "a.unwrap();"));
    assert!(breaks("tests/model.rs", "#[ignore = \"slow\"]"));

    assert!(!breaks(path, "// No todo!() and no a.unwrap() here."));
    assert!(!breaks(path, "let a = b.unwrap_or_default();"));
    assert!(!breaks(path, "#[cfg(test)]\nfn a() { b.unwrap(); }"));
    assert!(!breaks("tests/model.rs", "a.unwrap();"));
}

/// Names are whole words, and an order is one that a model can check.
fn banned_names(file: &File) -> Vec<String> {
    let is_sync = file.path.starts_with("src/sync");
    let broken = |word: &str| {
        if word.split('_').any(|part| matches!(part, "src" | "dst")) {
            return Some("`src`, `dst`: write `source`, `target`");
        }
        let what = "`SeqCst`: write the order of the edge, or `crate::sync::fence_seq_cst()`, the \
                    only one that loom models";
        (word == "SeqCst" && !is_sync).then_some(what)
    };
    let is_rust = file.is_rust();
    file.findings(|line| words(&line.code).find_map(broken).filter(|_| is_rust))
}

#[test]
fn names_are_whole_words() {
    let breaks = |path, text| crate::text::bites(banned_names, path, text);
    let path = "src/store/get.rs";

    assert!(breaks(path, "fn copy(src: &[u8], target: &mut [u8]) {}"));
    assert!(breaks(path, "let dst_offset = 1;"));
    assert!(breaks(path, "a.load(Ordering::SeqCst);"));
    assert!(breaks("loom-tests/tests/fill.rs", "a.load(Ordering::SeqCst);"));

    assert!(!breaks(path, "let source = \"src/lib.rs\"; // no src, no SeqCst"));
    assert!(!breaks("src/sync/mod.rs", "fence(Ordering::SeqCst);"));
    assert!(!breaks(".ci/run", "ls src"));
}

/// Nothing unfinished is left in comments, strings or prose either.
fn banned_text(file: &File) -> Vec<String> {
    file.findings(|line| {
        let whole = |word: &str| words(&line.raw).any(|found| found == word);
        let part = |stem: &str| line.raw.to_lowercase().contains(stem);
        let words = BANNED_TEXT.iter().filter(|(word, _)| whole(word));
        let stems = BANNED_STEMS.iter().filter(|(stem, _)| part(stem));
        words.chain(stems).next().map(|(word, instead)| format!("`{word}`: {instead}"))
    })
}

#[test]
fn text_is_finished() {
    let breaks = |path, text: &str| crate::text::bites(banned_text, path, text);

    for (word, _) in BANNED_TEXT.iter().chain(BANNED_STEMS) {
        assert!(breaks("src/unit.rs", &format!("// {word}: later")), "{word}");
        assert!(breaks("CHANGELOG.md", &format!("- {word}")), "{word}");
        assert!(breaks("deny.toml", &format!("reason = \"{word}\"")), "{word}");
    }
    assert!(breaks("src/unit.rs", &format!("struct {}", concat!("Key", "Black", "list"))));

    assert!(!breaks("src/unit.rs", "// A wiped store; mkstemp(\"aXXXXXX\")"), "parts of words");
}

/// Nothing points at the machine that it was written on.
fn machine_paths(file: &File) -> Vec<String> {
    let is_start = |before: &str| {
        !before.ends_with(|c| is_word_character(c) || matches!(c, '.' | '-' | '}' | '~' | '*'))
    };
    file.findings(|line| {
        let found = MACHINE_PATHS.iter().find(|path| {
            line.raw.match_indices(**path).any(|(at, _)| is_start(line.raw.split_at(at).0))
        })?;
        Some(format!("`{found}` exists on one machine: write a path relative to the workspace"))
    })
}

#[test]
fn no_path_of_one_machine_is_left() {
    let breaks = |path, text: &str| crate::text::bites(machine_paths, path, text);

    for machine in MACHINE_PATHS {
        assert!(breaks("src/unit.rs", &format!("// See {machine}notes.md")), "{machine}");
        assert!(breaks(".ci/run", &format!("cd {machine}brindle")), "{machine}");
        assert!(!breaks("README.md", &format!("https://a.example{machine}b")), "{machine}");
    }
    assert!(!breaks("tests/tidy.rs", "\"tests/works/a\" and target/home/b"));
}
