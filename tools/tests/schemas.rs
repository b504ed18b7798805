//! What `--json` writes is what its schema says; the schemas are kept in `docs/json-schema/`; and
//! `completions`, `man` and `--help` describe every command.
//!
//! `BRINDLE_UPDATE=1 cargo test -p brindle-tools --test schemas` writes the schemas anew.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use brindle::{Config, PutOptions, Store};
use common::{arg, brindle};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/json-schema")
}

fn names() -> Vec<String> {
    brindle(&["schema"]).with(0).text().lines().map(str::to_owned).collect()
}

#[test]
fn kept_schemas_are_those_of_the_command() {
    let mut kept = BTreeSet::new();
    for name in names() {
        let schema = brindle(&["schema", &name]).with(0);
        let file = format!("{}.json", name.replace('/', "-"));
        let path = folder().join(&file);
        if std::env::var_os("BRINDLE_UPDATE").is_some() {
            fs::create_dir_all(folder()).unwrap();
            fs::write(&path, &schema.out).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        assert!(text == schema.text(), "{file} is not what `brindle schema {name}` says");
        kept.insert(file);
    }
    let there: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, kept);
    brindle(&["schema", "nothing"]).with(2);
}

fn store(dir: &Path) {
    let config = Config::new().data_size(1 << 20).wblock_size(64 << 10).stripes(1);
    let store = Store::open(config.shadow_dir(dir)).unwrap();
    for n in 0..50_u64 {
        let options = PutOptions::new().ttl(Duration::from_secs(n % 2 * 3_600));
        store.put_with(format!("key {}", n % 30), "[1,2]", &options).unwrap();
    }
    store.put(b"\xff\x00", b"\xfe").unwrap();
    store.put("gone", "soon").unwrap();
    store.delete("gone").unwrap();
    store.close().unwrap();
}

/// Every document and line of every command, on a whole shadow and on a damaged one.
#[test]
fn what_is_written_is_what_the_schema_says() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    store(Path::new(&at("whole")));
    store(Path::new(&at("damaged")));
    let file = at("damaged/stripe-000.shadow");
    let mut bytes = fs::read(&file).unwrap();
    for byte in [100, (64 << 10) + 8 * 16 + 30, (64 << 10) + 8 * 16 + 200] {
        bytes[byte] ^= 8;
    }
    fs::write(&file, bytes).unwrap();
    // `top` looks at a store that is open.
    let open = Store::open(Config::new().data_size(1 << 20).wblock_size(64 << 10)).unwrap();
    open.sample_latencies("a store", 1);
    open.put("a", "1").unwrap();
    open.publish_top(at("top.json")).unwrap();
    fs::write(at("lines"), "{\"key\":\"a\",\"value\":1}\nbad\n{\"key\":\"b").unwrap();
    let mut seen = BTreeSet::new();
    for shadow in [at("whole"), at("damaged")] {
        let to = |name: &str| format!("{shadow}-{name}");
        let (whole, saved, dump) = (at("whole"), to("saved"), to("dump"));
        let (imported, page, lines, pages) = (to("new"), to("page"), at("lines"), to("pages"));
        let top = at("top.json");
        let bench = ["--records", "200", "--seconds", "1", "--threads", "1", "--workloads", "c"];
        let commands: Vec<Vec<&str>> = vec![
            vec!["info", &shadow],
            vec!["info", "--deep", &shadow],
            vec!["map", &shadow],
            vec!["wblock", "--hex", &shadow, "0"],
            vec!["record", &shadow, "0:8"],
            vec!["record", &shadow, "0:9"],
            vec!["ls", &shadow],
            vec!["get", &shadow, "key 5"],
            vec!["get", "--hex", &shadow, "ff00"],
            vec!["history", &shadow, "key 5"],
            vec!["stats", &shadow],
            vec!["diff", &shadow, &whole],
            vec!["verify", &shadow],
            vec!["salvage", "--to", &saved, &shadow],
            vec!["report", "--html", &page, &shadow],
            vec!["export", &shadow],
            vec!["export", "--to", &dump, &shadow],
            vec!["import", "--data-size", "64MiB", "--shadow-dir", &imported, &lines],
            [vec!["bench", "--data-size", "64MiB"], bench.to_vec()].concat(),
            vec!["top", &top],
            vec!["schema"],
            vec!["man", &pages],
        ];
        for command in commands {
            let args = [&command[..], &["--json"]].concat();
            let ran = brindle(&args);
            assert!([0, 1].contains(&ran.status), "{args:?}: {}", ran.err);
            for line in ran.lines() {
                let is_export = command[0] == "export";
                let name = match line.get("schema").and_then(Value::as_str) {
                    Some(name) => name.to_owned(),
                    None if is_export => "brindle-export-line/1".to_owned(),
                    None => "brindle-ls-line/1".to_owned(),
                };
                let schema = brindle(&["schema", &name]).with(0).json();
                let validator = jsonschema::validator_for(&schema).unwrap();
                let errors: Vec<String> =
                    validator.iter_errors(&line).map(|error| error.to_string()).collect();
                assert!(errors.is_empty(), "{args:?}: {errors:?}\n{line}");
                seen.insert(name);
            }
        }
    }
    assert_eq!(seen, names().into_iter().collect(), "every schema was met");
}

#[test]
fn shells_and_man_know_every_command() {
    let help = brindle(&["--help"]).with(0);
    let listed = help.text().split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let commands: Vec<&str> =
        listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let commands: Vec<&str> = commands.into_iter().filter(|name| *name != "help").collect();
    assert!(commands.len() >= 19, "{commands:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = brindle(&["completions", shell]).with(0);
        for command in &commands {
            assert!(script.text().contains(command), "{shell}: {command}");
        }
    }
    brindle(&["completions", "cobol"]).with(2);
    let dir = tempfile::tempdir().unwrap();
    brindle(&["man", arg(dir.path())]).with(0);
    for command in &commands {
        let page = fs::read_to_string(dir.path().join(format!("brindle-{command}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS") && page.contains("Examples:"), "{command}");
    }
    assert!(dir.path().join("brindle.1").exists());
}
