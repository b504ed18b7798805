//! `verify --repair-superblock` and `salvage`: what is written, and what of a store comes back.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use brindle::{Config, PutOptions, Store};
use common::{arg, brindle, exported};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const AREA: usize = 64 << 10;
const WBLOCK: usize = 64 << 10;

fn config(dir: &Path) -> Config {
    let config = Config::new().data_size(2 << 20).wblock_size(WBLOCK as u64).stripes(2);
    config.flush_max_ms(0).shadow_dir(dir)
}

/// 200 records over many wblocks, the last ones with an older version and an expiry.
fn closed(dir: &Path) -> [PathBuf; 2] {
    let store = Store::open(config(dir)).unwrap();
    for round in 0..2 {
        for n in 100 * round..200 {
            let options = PutOptions::new().ttl(Duration::from_secs(3_600 * round));
            let value = format!("value {round} of {n} {}", "x".repeat(3_000));
            store.put_with(format!("key {n}"), value, &options).unwrap();
        }
        store.flush().unwrap();
    }
    store.delete("key 7").unwrap();
    store.close().unwrap();
    [0, 1].map(|stripe| dir.join(format!("stripe-00{stripe}.shadow")))
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[test]
fn a_damaged_copy_is_written_anew_from_the_other() {
    for damaged in [0, 32 << 10] {
        let dir = tempfile::tempdir().unwrap();
        let [first, _] = closed(dir.path());
        change(&first, |bytes| bytes[damaged + 50] ^= 1);
        let path = arg(dir.path());
        let before = fs::read(&first).unwrap();
        brindle(&["verify", path]).with(1);
        assert!(fs::read(&first).unwrap() == before, "`verify` alone writes nothing");

        let mended = brindle(&["verify", "--repair-superblock", path]).with(0);
        assert!(mended.text().contains("mended ") && mended.text().contains("clean: "));
        let bytes = fs::read(&first).unwrap();
        assert_eq!(bytes[..4096], bytes[32 << 10..36 << 10]);
        assert!(bytes[AREA..] == before[AREA..], "nothing else was written");
        let again = brindle(&["verify", "--json", "--repair-superblock", path]).with(0).json();
        assert_eq!(again["repaired"], json!([]));
        assert_eq!(Store::open(config(dir.path())).unwrap().len(), 199);
    }
}

#[test]
fn a_store_that_is_open_is_not_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let [first, _] = closed(dir.path());
    let store = Store::open(config(dir.path())).unwrap();
    let mut bytes = fs::read(&first).unwrap();
    bytes[50] ^= 1;
    std::os::unix::fs::FileExt::write_all_at(
        &fs::OpenOptions::new().write(true).open(&first).unwrap(),
        &bytes[..4096],
        0,
    )
    .unwrap();
    let refused = brindle(&["verify", "--repair-superblock", arg(dir.path())]).with(2);
    assert!(refused.err.contains("a store has it open"), "{}", refused.err);
    drop(store);
}

#[test]
fn a_whole_shadow_is_saved_whole() {
    let [dir, to] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    closed(dir.path());
    let into = to.path().join("new");
    let ran = brindle(&["salvage", "--json", "--to", arg(&into), arg(dir.path())]).with(0).json();
    assert_eq!((&ran["complete"], &ran["saved"]), (&json!(true), &json!(199)));
    assert_eq!(exported(&into), exported(dir.path()), "versions and expiries, too");
    let again = brindle(&["salvage", "--to", arg(&into), arg(dir.path())]).with(2);
    assert!(again.err.contains("not empty"), "{}", again.err);
}

#[test]
fn without_any_superblock_nothing_is_lost() {
    let [dir, to] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let files = closed(dir.path());
    let expected = exported(dir.path());
    for (n, file) in files.iter().enumerate() {
        change(file, |bytes| bytes[..AREA].fill([0, 0xff][n]));
    }
    let path = arg(dir.path());
    brindle(&["export", path]).with(2);
    let into = to.path().join("new");
    let ran = brindle(&["salvage", "--json", "--to", arg(&into), path]).with(1).json();
    assert!(ran["guessed_shadows"].as_u64() > Some(0), "those that hold records");
    assert_eq!(ran["saved"], 199);
    assert_eq!(exported(&into), expected);
}

#[test]
fn what_is_damaged_is_named_and_taken_only_if_asked() {
    let dir = tempfile::tempdir().unwrap();
    let files = closed(dir.path());
    let expected = exported(dir.path());
    // The newest value of one key.
    let lost = b"value 1 of 150 ";
    let file = files.iter().find(|file| find(&fs::read(file).unwrap(), lost).is_some()).unwrap();
    change(file, |bytes| {
        let at = find(bytes, lost).unwrap();
        bytes[at] ^= 1;
    });
    // Both copies of the header of another wblock.
    change(file, |bytes| bytes[AREA..AREA + 128].fill(7));
    let path = arg(dir.path());
    let salvage = |options: &[&str]| {
        let to = tempfile::tempdir().unwrap();
        let args = [&["salvage", "--json", "--to", arg(to.path()), path], options].concat();
        (brindle(&args).with(1).json(), exported(to.path()))
    };
    let (report, saved) = salvage(&[]);
    let lost_keys = report["lost_keys"].as_u64().unwrap();
    assert_eq!(report["damaged"], lost_keys + 1, "each by name, and the header");
    assert_eq!(saved.len() as u64 + lost_keys, 199);
    assert_eq!(report["counts"]["damaged_wblocks"], 1);
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.iter().any(|finding| finding["key"] == "key 150"), "{findings:?}");
    let uncertain = report["uncertain"].as_u64().unwrap();
    assert!(uncertain > 0 && saved.len() < 199 && !saved.contains_key("key 150"));

    let (_, saved) = salvage(&["--uncertain"]);
    assert!(saved.len() == 198 && saved.iter().all(|(key, line)| expected[key] == *line));
    let (_, saved) = salvage(&["--uncertain", "--older"]);
    assert_eq!(saved.len(), 199);
    assert!(saved["key 150"]["value_text"].as_str().unwrap().starts_with("value 0 of 150"));
}
