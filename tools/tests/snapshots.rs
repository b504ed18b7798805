//! What each command prints, word for word, on golden shadows and on damaged ones: text and JSON.
//!
//! `INSTA_UPDATE=always cargo test -p brindle-tools --test snapshots` writes them anew; look at the
//! difference before you keep it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

mod common;

use common::{Ran, golden, tool};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

const AREA: usize = 64 << 10;

/// `golden.shadow`, and the same with damage.
fn shadows() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    let whole = fs::read(golden()).unwrap();
    write("golden.shadow", &whole);
    write("reclaimed.shadow", &fs::read(golden_reclaimed()).unwrap());
    let changed = |at: &[usize]| {
        let mut bytes = whole.clone();
        for at in at {
            bytes[*at] ^= 0x40;
        }
        bytes
    };
    // A value, a head, one copy of a header and of the superblock; then whole headers.
    write("damaged.shadow", &changed(&[100, AREA + 70, AREA + 8 * 16 + 32, AREA + 256 * 16 + 20]));
    write("headless.shadow", &changed(&[AREA + 3, AREA + 67]));
    write("torn.shadow", &whole[..AREA + 6_000]);
    write("torn.ndjson", b"no line\n{\"key\":\"a\",\"value\":1}\n{\"key\":\"b\",\"val");
    let mut both = changed(&[100]);
    both[(32 << 10) + 100] ^= 1;
    write("unreadable.shadow", &both);
    dir
}

fn golden_reclaimed() -> std::path::PathBuf {
    golden().with_file_name("format-1-reclaimed.shadow")
}

fn run(dir: &Path, args: &[&str]) -> Ran {
    // Neither an expiry nor an age depends on the day of the test.
    let now = ["--now-us", "1750000000000000"];
    let output =
        tool().args(args).args(now).current_dir(dir).stdin(Stdio::null()).output().unwrap();
    output.into()
}

/// Status, standard output and standard error.
fn session(dir: &Path, args: &[&str]) -> String {
    let Ran { status, out, err } = run(dir, args);
    let out = String::from_utf8(out).unwrap();
    let err = if err.is_empty() { err } else { format!("--- standard error\n{err}") };
    format!("$ brindle {}\n{out}{err}--- status {status}\n", args.join(" "))
}

/// Compares what `commands` print with what is kept under `name`; what varies is left out.
fn assert_snapshot(name: &str, dir: &Path, commands: &[&[&str]]) {
    let sessions: Vec<String> = commands.iter().map(|args| session(dir, args)).collect();
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (varies, shown) in [
        (r"at most \d+\.\d+ s at [^/]+/s", "at most [time] s at [rate]/s"),
        (r#""bytes_per_second":\d+,"seconds":[0-9.e-]+"#, r#""bytes_per_second":0,"seconds":0"#),
        (r"in \d+\.\d+ s", "in [time] s"),
        (r"<b>\d+\.\d+ s</b>", "<b>[time] s</b>"),
        (r#""html":"page.html","bytes":\d+"#, r#""html":"page.html","bytes":0"#),
        (r#""tool_version":"[^"]*""#, r#""tool_version":"[version]""#),
    ] {
        settings.add_filter(varies, shown);
    }
    settings.bind(|| insta::assert_snapshot!(name, sessions.join("\n")));
}

#[test]
fn info() {
    let dir = shadows();
    let commands: [&[&str]; 8] = [
        &["info", "golden.shadow"],
        &["info", "--deep", "golden.shadow"],
        &["info", "--deep", "--json", "golden.shadow"],
        &["info", "reclaimed.shadow"],
        &["info", "--deep", "damaged.shadow"],
        &["info", "headless.shadow"],
        &["info", "torn.shadow"],
        &["info", "unreadable.shadow"],
    ];
    assert_snapshot("info", dir.path(), &commands);
}

#[test]
fn map() {
    let dir = shadows();
    let commands: [&[&str]; 7] = [
        &["map", "golden.shadow"],
        &["map", "--json", "golden.shadow"],
        &["map", "--by", "state", "reclaimed.shadow", "--color", "always"],
        &["map", "--by", "age", "reclaimed.shadow"],
        &["map", "--by", "damage", "damaged.shadow"],
        &["map", "--by", "state", "headless.shadow"],
        &["map", "unreadable.shadow"],
    ];
    assert_snapshot("map", dir.path(), &commands);
    run(dir.path(), &["map", "--svg", "map.svg", "--by", "state", "headless.shadow"]).with(0);
    let svg = fs::read_to_string(dir.path().join("map.svg")).unwrap();
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("map_svg", svg.replace("><", ">\n<"));
    });
}

#[test]
fn wblock_and_record() {
    let dir = shadows();
    let commands: [&[&str]; 13] = [
        &["wblock", "golden.shadow", "0"],
        &["wblock", "--json", "--hex", "golden.shadow", "1"],
        &["wblock", "reclaimed.shadow", "1"],
        &["wblock", "damaged.shadow", "0"],
        &["wblock", "headless.shadow", "0"],
        &["wblock", "torn.shadow", "1"],
        &["wblock", "golden.shadow", "7"],
        &["record", "golden.shadow", "0:14"],
        &["record", "--json", "golden.shadow", "8"],
        &["record", "golden.shadow", "0:19"],
        &["record", "golden.shadow", "0:9"],
        &["record", "damaged.shadow", "0:8"],
        &["record", "golden.shadow", "99999999999"],
    ];
    assert_snapshot("wblock_and_record", dir.path(), &commands);
}

#[test]
fn verify() {
    let dir = shadows();
    let commands: [&[&str]; 6] = [
        &["verify", "golden.shadow"],
        &["verify", "--json", "golden.shadow"],
        &["verify", "damaged.shadow"],
        &["verify", "--json", "damaged.shadow"],
        &["verify", "headless.shadow"],
        &["verify", "unreadable.shadow"],
    ];
    assert_snapshot("verify", dir.path(), &commands);
}

#[test]
fn ls_get_export_and_import() {
    let dir = shadows();
    let commands: [&[&str]; 11] = [
        &["ls", "golden.shadow"],
        &["ls", "--json", "golden.shadow"],
        &["get", "golden.shadow", "key"],
        &["get", "--json", "golden.shadow", "key"],
        &["get", "golden.shadow", "deleted"],
        &["export", "golden.shadow"],
        &["export", "damaged.shadow"],
        &["export", "golden.shadow", "--to", "dump", "--rotate-records", "2"],
        &["export", "--json", "golden.shadow", "--to", "other", "--prefix", "k"],
        &["export", "golden.shadow", "--to", "dump"],
        &["import", "--shadow-dir", "new", "dump/export-000001.ndjson", "torn.ndjson"],
    ];
    assert_snapshot("ls_get_export_and_import", dir.path(), &commands);
}

#[test]
fn history_stats_and_diff() {
    let dir = shadows();
    let commands: [&[&str]; 11] = [
        &["history", "golden.shadow", "key"],
        &["history", "--json", "golden.shadow", "key"],
        &["history", "golden.shadow", "deleted"],
        &["history", "damaged.shadow", "key"],
        &["history", "headless.shadow", "--hex", "6b6579"],
        &["history", "reclaimed.shadow", "key"],
        &["history", "golden.shadow", "nowhere"],
        &["stats", "golden.shadow"],
        &["stats", "--json", "golden.shadow"],
        &["diff", "golden.shadow", "damaged.shadow"],
        &["diff", "--json", "reclaimed.shadow", "golden.shadow"],
    ];
    assert_snapshot("history_stats_and_diff", dir.path(), &commands);
}

#[test]
fn repair_and_salvage() {
    let dir = shadows();
    let commands: [&[&str]; 6] = [
        &["verify", "--repair-superblock", "damaged.shadow"],
        &["verify", "--repair-superblock", "unreadable.shadow"],
        &["salvage", "--to", "from damaged", "damaged.shadow"],
        &["salvage", "--json", "--to", "from headless", "headless.shadow"],
        &["salvage", "--to", "from unreadable", "--older", "--uncertain", "unreadable.shadow"],
        &["salvage", "--to", "from damaged", "golden.shadow"],
    ];
    assert_snapshot("repair_and_salvage", dir.path(), &commands);
}

#[test]
fn report() {
    let dir = shadows();
    let commands: [&[&str]; 3] = [
        &["report", "--html", "-", "damaged.shadow"],
        &["report", "--json", "--html", "page.html", "damaged.shadow"],
        &["report", "--html", "page.html", "unreadable.shadow"],
    ];
    assert_snapshot("report", dir.path(), &commands);
}

/// Of measurements only their names and units stay the same.
#[test]
fn bench() {
    let dir = tempfile::tempdir().unwrap();
    let command = ["bench", "--records", "100", "--seconds", "1", "--threads", "1"];
    let options = ["--workloads", "a,f", "--data-size", "64MiB"];
    let text = session(dir.path(), &[&command[..], &options].concat());
    insta::with_settings!({
        prepend_module_to_snapshot => false,
        omit_expression => true,
        filters => [(r" *\d+(\.\d+)?", " [n]")],
    }, {
        insta::assert_snapshot!("bench", text);
    });
}

#[test]
fn pages_and_completions() {
    let dir = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 3] = [&["man", "pages"], &["schema", "map"], &["completions", "cobol"]];
    assert_snapshot("pages_and_completions", dir.path(), &commands);
    let page = fs::read_to_string(dir.path().join("pages/brindle-map.1")).unwrap();
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("man_page_of_map", page);
    });
}

#[test]
fn help() {
    let dir = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 22] = [
        &["--help"],
        &["info", "--help"],
        &["map", "--help"],
        &["wblock", "--help"],
        &["record", "--help"],
        &["ls", "--help"],
        &["get", "--help"],
        &["history", "--help"],
        &["stats", "--help"],
        &["diff", "--help"],
        &["verify", "--help"],
        &["salvage", "--help"],
        &["report", "--help"],
        &["export", "--help"],
        &["import", "--help"],
        &["bench", "--help"],
        &["top", "--help"],
        &["schema", "--help"],
        &["completions", "--help"],
        &["man", "--help"],
        &["schema"],
        &["prune"],
    ];
    assert_snapshot("help", dir.path(), &commands);
}
