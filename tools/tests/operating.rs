//! The recipes of `docs/operating.md` for the shell, in their order, on real stores and with the
//! built command; those in Rust are doctests of the engine.
//!
//! A block of `sh` is a script that must succeed. One of `console` is commands behind `$ `, each
//! followed by what it prints; `…` stands for any text in a line, and alone for any lines. A
//! comment of HTML before a block, which no reader sees, says what is special:
//!
//! - `<!-- not run: WHY -->`: this block is left out, and counted as skipped.
//! - `<!-- run: exit 1 -->`: its last command ends with that status.
//! - `<!-- run: beside a host of data -->`: this process has that store open meanwhile, and
//!   publishes it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure fails the test")]

mod common;
#[path = "../../tests/common_files/skip.rs"]
mod skip;

use brindle::{Config, Store};
use common::tool;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

const DOCUMENT: &str = "docs/operating.md";
/// Languages that are checked elsewhere, or are none.
const OTHERS: [&str; 3] = ["rust", "text", "toml"];

/// A block for the shell.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// Where it starts, from 1.
    line: usize,
    is_console: bool,
    text: String,
    note: Note,
}

/// What the comment before it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Note {
    not_run: Option<String>,
    exit: i32,
    host: Option<String>,
}

impl Note {
    fn parse(comment: &str) -> Self {
        if let Some(why) = comment.strip_prefix("not run: ") {
            return Self { not_run: Some(why.to_owned()), ..Self::default() };
        }
        let rule = comment.strip_prefix("run: ").unwrap_or_else(|| panic!("no rule: {comment}"));
        if let Some(exit) = rule.strip_prefix("exit ") {
            return Self { exit: exit.parse().unwrap(), ..Self::default() };
        }
        let host = rule.strip_prefix("beside a host of ");
        let host = host.unwrap_or_else(|| panic!("no rule: {comment}"));
        Self { host: Some(host.to_owned()), ..Self::default() }
    }
}

/// Every block for the shell in `document`, in order.
fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut note = Note::default();
    let mut lines = (1..).zip(document.lines());
    while let Some((number, line)) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            if let Some(comment) = line.strip_prefix("<!-- ") {
                note = Note::parse(comment.strip_suffix(" -->").unwrap());
            } else if !line.trim().is_empty() {
                assert_eq!(note, Note::default(), "line {number}: a comment before no block");
            }
            continue;
        };
        let body: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let note = std::mem::take(&mut note);
        let language = language.split(',').next().unwrap_or_default();
        if !matches!(language, "sh" | "console") {
            assert!(OTHERS.contains(&language), "line {number}: who runs a block of {language:?}?");
            assert_eq!(note, Note::default(), "line {number}: a note for no shell");
            continue;
        }
        let is_console = language == "console";
        blocks.push(Block { line: number, is_console, text: body.join("\n"), note });
    }
    blocks
}

/// Commands, and what each prints.
fn commands(text: &str) -> Vec<(String, Vec<String>)> {
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), Vec::new())),
            (None, Some((_, printed))) => printed.push(line.trim_end().to_owned()),
            (None, None) => panic!("a block of console starts with `$ `: {line}"),
        }
    }
    commands
}

/// `shown` holds of `printed`, lines and the text in them alike.
fn is_printed(shown: &[String], printed: &str) -> bool {
    holds(shown, &printed.lines().collect::<Vec<_>>())
}

fn holds(shown: &[String], printed: &[&str]) -> bool {
    let Some((first, rest)) = shown.split_first() else { return printed.is_empty() };
    if first == "…" {
        return (0..=printed.len()).any(|from| holds(rest, &printed[from..]));
    }
    let Some((line, after)) = printed.split_first() else { return false };
    line_holds(first, line.trim_end()) && holds(rest, after)
}

fn line_holds(shown: &str, printed: &str) -> bool {
    let Some((start, rest)) = shown.split_once('…') else { return shown == printed };
    let Some(behind) = printed.strip_prefix(start) else { return false };
    let mut ends = behind.char_indices().map(|(at, _)| at).chain([behind.len()]);
    ends.any(|at| line_holds(rest, &behind[at..]))
}

#[test]
fn what_is_shown_is_compared() {
    let holds = |shown: &str, printed: &str| {
        let shown: Vec<String> = shown.lines().map(str::to_owned).collect();
        is_printed(&shown, printed)
    };
    assert!(holds("a\n…\nb … c", "a\nx\ny\nb 1 c") && holds("…", "") && holds("…a…", "bab"));
    assert!(
        !holds("a", "a\nb") && !holds("a\nb", "a") && !holds("b … c", "b c") && !holds("", "a")
    );
    let found =
        blocks("<!-- run: exit 1 -->\n```sh\na\nb\n```\n```rust\n```\n```console\n$ c\n```");
    let sh = Block {
        line: 2,
        is_console: false,
        text: "a\nb".to_owned(),
        note: Note { exit: 1, ..Note::default() },
    };
    assert_eq!((found.len(), &found[0]), (2, &sh));
    assert!(found[1].is_console && found[1].line == 8 && found[1].note == Note::default());
}

fn open(dir: &Path) -> Store {
    let config = Config::new().data_size(16 << 20).wblock_size(1 << 20).stripes(2);
    Store::open(config.shadow_dir(dir)).unwrap()
}

/// The stores that the document speaks of: `data`, and `damaged`, of which a value has rotted.
fn stores(dir: &Path) {
    for name in ["data", "damaged"] {
        let store = open(&dir.join(name));
        store.put("user:1", "Ada").unwrap();
        for number in 2..1_000_u32 {
            store.put(format!("user:{number}"), "a name".repeat(10)).unwrap();
        }
        store.put("of no use", "to anybody").unwrap();
        store.delete("of no use").unwrap();
        // A flush of its own, and one behind it: what was durable once, and not torn.
        store.flush().unwrap();
        store.put("rotten", "this value is not what it was").unwrap();
        store.flush().unwrap();
        for number in 0..100_u32 {
            store.put(format!("later:{number}"), "another name").unwrap();
        }
        store.close().unwrap();
    }
    let needle = b"this value is not what it was";
    for file in ["stripe-000.shadow", "stripe-001.shadow"] {
        let path = dir.join("damaged").join(file);
        let bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(b"T", at as u64).unwrap();
            return;
        }
    }
    panic!("the value is on neither stripe");
}

/// Runs `script` in `dir`, and returns its status and all that it printed.
fn run(script: &str, dir: &Path) -> (i32, String) {
    let folder = Path::new(tool().get_program()).parent().unwrap().to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    // One stream for both, as on a terminal.
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", "exec 2>&1; eval \"$1\"", "bash", script])
        .env("PATH", format!("{}:{path}", folder.display()))
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn run_block(block: &Block, dir: &Path) {
    let Block { line, note, .. } = block;
    if !block.is_console {
        let (status, printed) = run(&block.text, dir);
        assert_eq!(status, note.exit, "{DOCUMENT}:{line}:\n{}\n---\n{printed}", block.text);
        return;
    }
    let commands = commands(&block.text);
    for (number, (command, shown)) in (1..).zip(&commands) {
        let (status, printed) = run(command, dir);
        let expected = if number == commands.len() { note.exit } else { 0 };
        assert_eq!(status, expected, "{DOCUMENT}:{line}: {command}\n{printed}");
        let is_so = is_printed(shown, &printed);
        assert!(is_so, "{DOCUMENT}:{line}: {command} prints\n{printed}\nand not\n{shown:#?}");
    }
}

#[test]
fn every_recipe_for_the_shell_works() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(DOCUMENT);
    let blocks = blocks(&fs::read_to_string(path).unwrap());
    let dir = tempfile::tempdir().unwrap();
    stores(dir.path());
    let mut ran = 0;
    for block in &blocks {
        if let Some(why) = &block.note.not_run {
            skip::skip(&format!("{DOCUMENT}:{}: {why}", block.line));
            continue;
        }
        let host = block.note.host.as_ref().map(|name| {
            let folder = dir.path().join(name);
            let store = open(&folder);
            store.sample_latencies(name, 1);
            store.publish_top(folder.join("top.json")).unwrap();
            store
        });
        run_block(block, dir.path());
        if let Some(store) = host {
            store.close().unwrap();
        }
        ran += 1;
    }
    println!("{ran} of {} blocks were run", blocks.len());
    assert!(ran >= 8, "where are the recipes?");
}
