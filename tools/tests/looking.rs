//! `history`, `stats`, `diff`, `map` and `wblock` on stores that were really written.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use brindle::format::{Geometry, Sequence, StoreId, Superblock};
use brindle::{Config, PutOptions, Store};
use common::{arg, brindle};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

fn config(dir: &Path) -> Config {
    let config = Config::new().data_size(1 << 20).wblock_size(64 << 10).stripes(1);
    config.flush_max_ms(0).shadow_dir(dir)
}

fn fates(history: &Value) -> Vec<&str> {
    let versions = history["versions"].as_array().unwrap();
    versions.iter().map(|version| version["fate"].as_str().unwrap()).collect()
}

#[test]
fn every_version_has_a_fate() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path())).unwrap();
    let mut versions = Vec::new();
    for value in ["one", "two", "three"] {
        versions.push(u64::from(store.put("key", value).unwrap()));
        store.put("gone", value).unwrap();
        store.put_with("short", value, &PutOptions::new().ttl(Duration::from_millis(1))).unwrap();
        store.flush().unwrap();
    }
    store.delete("gone").unwrap();
    store.flush().unwrap();
    let path = arg(dir.path());
    // While the store has it open, too.
    let history = |key: &str| brindle(&["history", "--json", path, key]).with(0).json();
    let key = history("key");
    assert_eq!((&key["found"], fates(&key)), (&json!(3), vec!["alive", "replaced", "replaced"]));
    assert_eq!(key["versions"][0]["version"], versions[2]);
    assert_eq!(key["versions"][1]["replaced_by"], versions[2]);
    assert_eq!(fates(&history("gone"))[0], "deleted");
    assert_eq!(fates(&history("short"))[0], "expired");
    brindle(&["history", path, "never"]).with(1);
    store.close().unwrap();

    let spot = format!("{}:{}", key["versions"][0]["wblock"], key["versions"][0]["rblock"]);
    let record = brindle(&["record", "--json", path, &spot]).with(0).json();
    assert_eq!((&record["good"], &record["checks"][1]["good"]), (&json!(true), &json!(true)));
    let listed = brindle(&["wblock", path, "0"]).with(0);
    assert!(listed.text().contains("end of flush 3"), "{}", listed.text());
}

/// After moves and reuse, what was left behind is told from what counts.
#[test]
fn what_reclaim_left_behind_is_dead() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path())).unwrap();
    store.put("steady", "here").unwrap();
    for n in 0..3_000 {
        store.put(format!("key {}", n % 150), vec![7; 3_000]).unwrap();
    }
    store.close().unwrap();
    let path = arg(dir.path());
    let history = brindle(&["history", "--json", path, "steady"]).with(0).json();
    let fates = fates(&history);
    assert_eq!(fates[0], "alive", "{fates:?}");
    assert!(fates[1..].iter().all(|fate| ["copy", "struck_out"].contains(fate)), "{fates:?}");

    let info = brindle(&["info", "--deep", "--json", path]).with(0).json();
    assert_eq!(info["records"]["live"], 151);
    let space = info["space"].as_object().unwrap();
    let sum: u64 = space.values().map(|bytes| bytes.as_u64().unwrap()).sum();
    assert_eq!(sum, info["members"][0]["data_size_bytes"].as_u64().unwrap(), "{space:?}");
    let map = brindle(&["map", "--json", path]).with(0).json();
    assert_eq!(map["panels"][0]["cells"].as_str().unwrap().len(), 16);
}

#[test]
fn stats_count_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path())).unwrap();
    for n in 0..100_usize {
        let options = PutOptions::new().ttl(Duration::from_secs(if n < 40 { 3_600 } else { 0 }));
        store.put_with(format!("key {n:02}"), vec![7; n * 10], &options).unwrap();
    }
    for _ in 0..9 {
        store.put("key 50", "again").unwrap();
    }
    store.delete("key 60").unwrap();
    store.close().unwrap();
    let stats = brindle(&["stats", "--json", "--top", "3", arg(dir.path())]).with(0).json();
    assert_eq!((&stats["live_records"], &stats["without_expiry"]), (&json!(99), &json!(59)));
    assert_eq!((&stats["key_bytes"]["min"], &stats["key_bytes"]["max"]), (&json!(6), &json!(6)));
    assert_eq!(stats["value_bytes"]["count"], 99);
    assert_eq!(stats["time_left_ms"]["count"], 40);
    assert_eq!(stats["copies"]["max"], 10);
    assert_eq!(stats["largest"][0], json!({ "count": 996, "key": "key 99" }));
    assert_eq!(stats["largest"].as_array().unwrap().len(), 3);
    assert_eq!(stats["most_rewritten"], json!([{ "count": 10, "key": "key 50" }]));
}

#[test]
fn two_stores_differ_by_what_they_return() {
    let [a, b] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, two] = [&a, &b].map(|dir| Store::open(config(dir.path())).unwrap());
    let put = |store: &Store, key: &str, value: &str, version: u64| {
        store.put_with(key, value, &PutOptions::new().version(version.into())).unwrap();
    };
    for store in [&one, &two] {
        put(store, "same", "x", 5);
        put(store, "deleted in b", "x", 5);
    }
    two.delete("deleted in b").unwrap();
    put(&one, "only a", "x", 5);
    put(&two, "only b", "x", 5);
    put(&one, "newer a", "x", 6);
    put(&two, "newer a", "x", 5);
    put(&one, "newer b", "x", 5);
    put(&two, "newer b", "x", 6);
    put(&one, "unequal", "x", 5);
    put(&two, "unequal", "y", 5);
    one.close().unwrap();
    two.close().unwrap();
    let [a, b] = [arg(a.path()), arg(b.path())];
    let diff = brindle(&["diff", "--json", a, b]).with(1).json();
    for (kind, count) in
        [("same", 1), ("only_a", 2), ("only_b", 1), ("newer_a", 1), ("newer_b", 1), ("unequal", 1)]
    {
        assert_eq!(diff[kind], count, "{kind}: {diff}");
    }
    let text = brindle(&["diff", a, b]).with(1);
    assert!(text.text().contains("deleted in b  A 5, B deleted at"), "{}", text.text());
    assert!(brindle(&["diff", a, a]).with(0).text().starts_with("same: 6 keys alike"));
    assert_eq!(brindle(&["diff", "--count", a, b]).with(1).text().lines().count(), 1);
}

/// A cell for each of 30,000 wblocks would be more than anybody wants to look at.
#[test]
fn a_map_of_many_wblocks_is_aggregated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stripe-000.shadow");
    let superblock = Superblock {
        generation: 3,
        store_id: StoreId([7; 16]),
        stripe: 0,
        geometry: Geometry { wblock_bytes: 64 << 10, stripes: 1, wblocks_per_stripe: 30_000 },
        hash_seed: 1,
        clock_floor: 1,
        sequence_limit: Sequence(9),
        created_at: 1,
        whole_from: Sequence(1),
        attached_at: 0,
        clean: true,
        incomplete: false,
    };
    let file = File::create(&path).unwrap();
    for copy in [0, 32 << 10] {
        file.write_all_at(&superblock.encode()[..], copy).unwrap();
    }
    file.write_all_at(&[7; 4096], (64 << 10) + 20_001 * (64 << 10)).unwrap();
    file.set_len((64 << 10) + 30_000 * (64 << 10)).unwrap();
    let svg = dir.path().join("map.svg");
    let args = ["map", "--json", "--by", "state", "--svg", arg(&svg), arg(&path)];
    let map = brindle(&args).with(0).json();
    let cells = map["panels"][0]["cells"].as_str().unwrap();
    assert_eq!((&map["wblocks_a_cell"], cells.len()), (&json!(2), 15_000));
    assert_eq!(cells.find('!'), Some(10_000), "one damaged wblock marks its cell");
    let svg = fs::read_to_string(svg).unwrap();
    assert_eq!(svg.matches("<rect").count(), 15_000 + 4, "and the legend");
    assert!(svg.len() < 2 << 20, "{}", svg.len());
    assert!(brindle(&["map", arg(&path)]).with(0).text().contains("a cell is 2 wblocks"));
}
