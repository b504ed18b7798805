//! Hostile input, on a stable compiler: the entries of `fuzz/` over their seeds, over what fuzzing
//! once found (`fuzz/regressions/`), over its corpus where there is one, and over random changes of
//! all these; and the command as a process of its own, held to 512 MiB and 60 s of a processor.
//!
//! `BRINDLE_FUZZ_CASES=N` changes each seed N times; `BRINDLE_SEED=S` draws the changes from S.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests"
)]

mod common;
#[path = "../../fuzz/src/lib.rs"]
mod entries;

use brindle::Config;
use brindle::format::{Geometry, Sequence, StoreId, Superblock};
use common::{arg, brindle, brindle_with, golden, tool};
use entries::{Entry, Random, TARGETS, is_unprintable, mutated, seeds};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// A seed that is printed, and another one each day.
fn seed() -> u64 {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() / 86_400);
    from_env("BRINDLE_SEED", days)
}

/// Names the input if the entry panics.
struct Case<'a>(&'a str, &'a [u8]);

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}: the input is {}", self.0, self.1.escape_ascii());
        }
    }
}

fn run(name: &str, entry: Entry, input: &[u8]) {
    let _case = Case(name, input);
    entry(input);
}

/// The bytes of all files in `fuzz/<folder>/<name>`.
fn files(folder: &str, name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(folder).join(name);
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().take(2_000).map(|path| fs::read(path).expect("a file")).collect()
}

fn try_all(name: &str, share: u64) {
    let entry = TARGETS.iter().find(|target| target.0 == name).expect("a target").1;
    let (seed, cases) = (seed(), (from_env("BRINDLE_FUZZ_CASES", 200) / share).max(1));
    println!("{name}: BRINDLE_SEED={seed} BRINDLE_FUZZ_CASES={cases}");
    let mut random = Random(seed);
    let mut known = seeds(name);
    known.extend(files("regressions", name));
    let corpus = files("corpus", name);
    for input in &corpus {
        run(name, entry, input);
    }
    for input in &known {
        run(name, entry, input);
        let mut changed = input.clone();
        for at in 0..cases {
            // A walk away from the seed, that starts anew now and then.
            let from = if at % 16 == 0 { input } else { &changed };
            changed = mutated(from, &mut random);
            run(name, entry, &changed);
        }
    }
    println!(
        "{name}: {} seeds, each changed {cases} times, {} of a corpus",
        known.len(),
        corpus.len()
    );
}

#[test]
fn no_superblock_is_too_much() {
    try_all("superblock", 1);
}

#[test]
fn no_wblock_is_too_much() {
    try_all("wblock", 1);
}

#[test]
fn no_record_is_too_much() {
    try_all("record", 1);
}

#[test]
fn no_configuration_is_too_much() {
    try_all("config", 1);
}

#[test]
fn no_line_of_an_import_is_too_much() {
    try_all("import", 1);
}

#[test]
fn no_sequence_of_operations_is_too_much() {
    try_all("operations", 8);
}

#[test]
fn no_shadow_is_too_much_for_an_open() {
    try_all("open", 4);
}

#[test]
fn no_shadow_is_too_much_for_the_command() {
    try_all("inspector", 8);
}

/// Runs the command within 512 MiB of addresses and 60 s of a processor.
fn limited(args: &[&str]) -> Output {
    let mut command = tool();
    command.args(args).stdin(Stdio::null());
    let limit = || {
        for (what, most) in [(libc::RLIMIT_AS, 512 << 20), (libc::RLIMIT_CPU, 60)] {
            let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
            // SAFETY: reads the struct, and limits this process, the command to be, alone.
            if unsafe { libc::setrlimit(what, &raw const limit) } != 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: `setrlimit` alone, which is async-signal-safe, and allocates nothing.
    unsafe { command.pre_exec(limit) };
    command.output().expect("the tool runs")
}

/// No signal, no panic, and nothing raw on either stream.
fn is_well_behaved(args: &[&str], output: &Output) {
    let Output { status, stdout, stderr } = output;
    let err = stderr.escape_ascii();
    assert!(matches!(status.code(), Some(0..=2)), "{args:?}: {status}: {err}");
    for stream in [stdout, stderr] {
        let text = std::str::from_utf8(stream).expect("output is text");
        let raw = text.chars().find(|c| is_unprintable(*c) && *c != '\n');
        assert_eq!(raw, None, "{args:?}: {}", stream.escape_ascii());
        assert!(!text.contains("panicked"), "{args:?}: {text}");
    }
}

/// `@` stands for the path.
const COMMANDS: [&[&str]; 19] = [
    &["info", "@"],
    &["info", "--deep", "--json", "@"],
    &["map", "@"],
    &["map", "--by", "age", "--json", "@"],
    &["wblock", "--hex", "@", "0"],
    &["wblock", "--json", "@", "1"],
    &["record", "@", "0:8"],
    &["record", "--json", "@", "4105"],
    &["verify", "@"],
    &["verify", "--json", "@"],
    &["ls", "@"],
    &["ls", "--json", "@"],
    &["export", "@"],
    &["get", "--json", "@", "key"],
    &["history", "@", "key"],
    &["history", "--json", "@", "key"],
    &["stats", "@"],
    &["diff", "@", "@"],
    &["report", "--html", "-", "@"],
];

fn look_at(path: &Path) {
    for command in COMMANDS {
        let argument = |text: &&'static str| if *text == "@" { arg(path) } else { *text };
        let args: Vec<&str> = command.iter().map(argument).collect();
        is_well_behaved(&args, &limited(&args));
    }
}

/// What `salvage` makes of any file is a store that opens, or a word why there is none.
fn salvage(path: &Path, dir: &Path) {
    let to = dir.join("saved");
    let args = ["salvage", "--data-size", "64MiB", "--to", arg(&to), arg(path)];
    let output = tool().args(args).stdin(Stdio::null()).output().expect("the tool runs");
    is_well_behaved(&args, &output);
    if output.status.code() != Some(2) {
        drop(brindle::Store::open(Config::new().shadow_dir(&to)).expect("a store was made"));
    }
    let _ = fs::remove_dir_all(&to);
}

#[test]
fn the_command_survives_any_file_and_leaves_it_alone() {
    let (seed, cases) = (seed(), from_env("BRINDLE_FUZZ_CASES", 200) / 10);
    println!("BRINDLE_SEED={seed} BRINDLE_FUZZ_CASES={cases}0");
    let mut random = Random(seed);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("stripe-000.shadow");
    let whole = fs::read(golden()).expect("a golden shadow");
    for case in 0..cases {
        let image = match case % 4 {
            0 => mutated(&[], &mut random),
            _ => mutated(&whole, &mut random),
        };
        fs::write(&path, &image).expect("room");
        let looked = [&path, dir.path()][case as usize % 2];
        look_at(looked);
        assert!(
            fs::read(&path).expect("it is there") == image,
            "case {case}: the file was written"
        );
        let names = fs::read_dir(dir.path()).expect("a directory").count();
        assert_eq!(names, 1, "case {case}: a file was left behind");
        let other = tempfile::tempdir().expect("a directory");
        salvage(looked, other.path());
    }
}

/// What a superblock may claim: 64 GiB in a million wblocks; there is hardly a byte of it.
#[test]
fn the_command_survives_a_shadow_that_claims_more_than_there_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("stripe-000.shadow");
    for (wblock_bytes, wblocks_per_stripe, bytes) in
        [(64 << 10, 1 << 20, 1 << 17), (8 << 20, 1 << 20, 1 << 30), (64 << 10, 1 << 17, 1 << 33)]
    {
        let superblock = Superblock {
            generation: 9,
            store_id: StoreId([7; 16]),
            stripe: 0,
            geometry: Geometry { wblock_bytes, stripes: 1, wblocks_per_stripe },
            hash_seed: 1,
            clock_floor: u64::MAX,
            sequence_limit: Sequence(1 << 43),
            created_at: u64::MAX,
            whole_from: Sequence(0),
            attached_at: 0,
            clean: true,
            incomplete: false,
        };
        let file = File::create(&path).expect("a file");
        file.write_all_at(&superblock.encode()[..], 0).expect("room");
        file.write_all_at(&superblock.encode()[..], 32 << 10).expect("room");
        file.set_len(bytes).expect("a sparse file");
        look_at(&path);
    }
}

/// A name is no more to be trusted than what is in the file.
#[test]
fn a_name_cannot_write_on_the_terminal() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["a\u{1b}[2J", "a\u{9b}2J", "a\u{202e}b", "a\nb"] {
        let path = dir.path().join(name);
        for bytes in [fs::read(golden()).expect("a golden shadow"), b"no shadow".to_vec()] {
            fs::write(&path, bytes).expect("room");
            look_at(&path);
        }
        fs::remove_file(&path).expect("it is there");
        look_at(&path);
        let args = ["import", "--shadow-dir", "nowhere", arg(&path)];
        is_well_behaved(&args, &limited(&args));
    }
}

/// Keys and values that are text and yet move a cursor: escaped, and stored as they are.
#[test]
fn keys_and_values_cannot_write_on_the_terminal() {
    let dir = tempfile::tempdir().expect("a directory");
    let shadow = |name: &str| dir.path().join(name);
    let open = |name: &str| {
        let config = Config::new().data_size(1 << 20).wblock_size(64 << 10).stripes(1);
        brindle::Store::open(config.shadow_dir(shadow(name))).expect("a new store")
    };
    let texts = ["a\u{9b}2J", "b\u{202e}c", "\u{7f}", "\u{feff}\u{200b}", "\u{1b}[2J\n", "plain"];
    let store = open("one");
    for text in texts {
        store.put(text, format!("{{\"{text}\":\"{text}\"}}")).expect("room");
        store.put(format!("{text}{text}"), text).expect("room");
        store.put(format!("{text}json"), serde_json::to_string(text).expect("text")).expect("room");
    }
    store.close().expect("a sound disk");
    look_at(&shadow("one"));
    let exported = brindle(&["export", arg(&shadow("one"))]).with(0);
    let into = shadow("two");
    brindle_with(
        &["import", "--shadow-dir", arg(&into), "--data-size", "64MiB", "-"],
        &exported.out,
    )
    .with(0);
    let (one, two) = (open("one"), brindle::Store::open(Config::new().shadow_dir(&into)));
    let two = two.expect("it was made");
    assert_eq!((one.len(), two.len()), (3 * texts.len(), 3 * texts.len()));
    for record in one.scan() {
        let again = two.get(record.key()).expect("it was imported");
        assert_eq!(&*again, &*record, "{}", record.key().escape_ascii());
    }
}

/// A bad line is told in words that a terminal can show, whatever is in it.
#[test]
fn a_bad_line_cannot_write_on_the_terminal() {
    let dir = tempfile::tempdir().expect("a directory");
    let input = dir.path().join("lines");
    let lines = [
        "{\"key\":\"a\",\"value\":1,\"\u{9b}2J\":1}\n",
        "{\"\\u001b[2J\":1}\n",
        "{\"key\":\"a\",\"value\":1,\"ttl_ms\":\"\\u001b[2J\"}\n",
        "\u{1b}[2J\n",
    ];
    fs::write(&input, lines.concat()).expect("room");
    for json in [&[][..], &["--json"]] {
        let shadow = dir.path().join("shadow");
        let args = ["import", "--data-size", "64MiB", "--shadow-dir", arg(&shadow), arg(&input)];
        let args: Vec<&str> = args.iter().chain(json).copied().collect();
        let output = tool().args(&args).output().expect("the tool runs");
        is_well_behaved(&args, &output);
        assert!(String::from_utf8_lossy(&output.stderr).contains("line 4"), "all are skipped");
    }
}
