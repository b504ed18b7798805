//! `Config` from TOML: every key reads as its method sets it, and every mistake is told by key,
//! line and way out.

use brindle::{Config, Error, HugePages, OnDamage};
use proptest::prelude::*;
use std::error::Error as _;
use std::time::Duration;

/// Equal in every key: `Config` shows all of them.
fn assert_same(left: &Config, right: &Config, about: &str) {
    assert_eq!(format!("{left:?}"), format!("{right:?}"), "{about}");
}

/// The key, and the whole message.
fn refusal(text: &str) -> (String, String) {
    match Config::from_toml(text) {
        Err(error @ Error::Config { .. }) => {
            let message = error.to_string();
            let Error::Config { key, .. } = error else { unreachable!() };
            (key, message)
        }
        other => panic!("{text:?} is not refused: {other:?}"),
    }
}

#[test]
fn every_key_reads_as_its_method_sets_it() {
    let new = Config::new;
    let cases = [
        ("data_size = \"1GiB\"", new().data_size(1 << 30)),
        ("data_size = 1_073_741_824", new().data_size(1 << 30)),
        ("data_size = 0x4000_0000", new().data_size(1 << 30)),
        ("shadow_dir = \"/var/lib/x\"", new().shadow_dir("/var/lib/x")),
        ("shadow_devices = [\"/dev/a\", '/dev/b']", new().shadow_devices(["/dev/a", "/dev/b"])),
        ("shadow_devices = []", new().shadow_devices([""; 0])),
        ("stripes = 3", new().stripes(3)),
        ("wblock_size = \"64KiB\"", new().wblock_size(64 << 10)),
        ("max_record_size = \"512B\"", new().max_record_size(512)),
        ("pin_cores = false", new().pin_cores(false)),
        ("huge_pages = \"off\"", new().huge_pages(HugePages::Off)),
        ("huge_pages = \"transparent\"", new().huge_pages(HugePages::Transparent)),
        ("huge_pages = \"explicit\"", new().huge_pages(HugePages::Explicit)),
        ("prefault = false", new().prefault(false)),
        ("lock_memory = true", new().lock_memory(true)),
        ("commit_to_device = true", new().commit_to_device(true)),
        ("direct_files = true", new().direct_files(true)),
        ("disable_odsync = true", new().disable_odsync(true)),
        ("flush_max_ms = 250", new().flush_max_ms(250)),
        ("flush_size = \"8 KiB\"", new().flush_size(8 << 10)),
        ("max_write_cache = \"2TiB\"", new().max_write_cache(2 << 40)),
        ("overload_wait = \"0s\"", new().overload_wait(Duration::ZERO)),
        ("flush_deadline = \"250ms\"", new().flush_deadline(Duration::from_millis(250))),
        ("close_deadline = \"5s\"", new().close_deadline(Duration::from_secs(5))),
        ("defrag_lwm_pct = 60", new().defrag_lwm_pct(60)),
        ("defrag_queue_min = 4", new().defrag_queue_min(4)),
        ("defrag_sleep = \"500us\"", new().defrag_sleep(Duration::from_micros(500))),
        ("evict_used_pct = 80", new().evict_used_pct(80)),
        ("evict_target_pct = 70", new().evict_target_pct(70)),
        ("stop_writes_used_pct = 95", new().stop_writes_used_pct(95)),
        ("stop_writes_avail_pct = 2", new().stop_writes_avail_pct(2)),
        ("default_ttl = \"2h\"", new().default_ttl(Duration::from_secs(7200))),
        ("on_damage = \"refuse\"", new().on_damage(OnDamage::Refuse)),
        ("on_damage = \"report\"", new().on_damage(OnDamage::Report)),
        ("expected_records = 1000000", new().expected_records(1_000_000)),
        ("tombstone_grace = \"10min\"", new().tombstone_grace(Duration::from_secs(600))),
        ("sweep_interval = \"250ms\"", new().sweep_interval(Duration::from_millis(250))),
        ("", new()),
        ("# nothing but a comment", new()),
        ("stripes = 2\nprefault = false\n", new().prefault(false).stripes(2)),
    ];
    for (text, config) in cases {
        assert_same(&Config::from_toml(text).expect(text), &config, text);
    }
}

#[test]
fn every_mistake_is_told_by_key_line_and_way_out() {
    let cases: [(&str, &str, &[&str]); 31] = [
        ("data_sise = 1", "data_sise", &["unknown", "`data_size`", "line 1"]),
        ("\n\ndata-size = 1", "data-size", &["`data_size`", "line 3"]),
        ("replication_factor = 2", "replication_factor", &["unknown", "line 1"]),
        ("on_progress = true", "on_progress", &["from code only"]),
        ("[data_size]\nx = 1", "data_size", &["takes a size", "not a table", "line 1"]),
        ("[storage]\nstripes = 1", "storage", &["unknown"]),
        ("stripes = 1\nprefault = 1", "prefault", &["true or false", "a whole number", "line 2"]),
        ("data_size = true", "data_size", &["64MiB", "not true or false"]),
        ("data_size = 1.5", "data_size", &["not a fraction"]),
        ("data_size = -1", "data_size", &["is -1", "below 0"]),
        ("data_size = \"64MB\"", "data_size", &["`MiB`", "line 1"]),
        ("data_size = \"64\"", "data_size", &["no unit"]),
        ("data_size = 99999999999999999999", "data_size", &["too large"]),
        ("data_size = 64MiB", "data_size", &["not valid TOML", "line 1", "quotes"]),
        ("stripes = 1\nshadow_dir = /data", "shadow_dir", &["not valid TOML", "line 2", "quotes"]),
        ("stripes = \"3\"", "stripes", &["a whole number", "not a string"]),
        ("stripes = -1", "stripes", &["below 0"]),
        ("stripes = 1\nstripes = 2", "stripes", &["line 2", "once"]),
        ("shadow_dir = 5", "shadow_dir", &["a path in quotes"]),
        ("shadow_devices = \"/dev/a\"", "shadow_devices", &["a list of paths", "a string"]),
        ("shadow_devices = [1]", "shadow_devices", &["a path in quotes", "a whole number"]),
        ("huge_pages = \"on\"", "huge_pages", &["`on`", "`off`", "`transparent`", "`explicit`"]),
        ("huge_pages = \"Off\"", "huge_pages", &["`Off`", "`off`"]),
        ("on_damage = 1", "on_damage", &["a name in quotes"]),
        ("flush_max_ms = \"1s\"", "flush_max_ms", &["a whole number"]),
        ("overload_wait = 1", "overload_wait", &["\"250ms\"", "a whole number"]),
        ("overload_wait = \"1m\"", "overload_wait", &["min"]),
        ("default_ttl = 2026-01-01", "default_ttl", &["not a date"]),
        ("defrag_lwm_pct = 256", "defrag_lwm_pct", &["is 256", "0 to 100"]),
        ("defrag_queue_min = 4294967296", "defrag_queue_min", &["too large"]),
        ("stripes = 1\n= 5", "toml", &["not valid TOML", "line 2"]),
    ];
    for (text, key, words) in cases {
        let (found, message) = refusal(text);
        assert_eq!(found, key, "{message}");
        assert!(message.contains("line "), "{message}");
        for word in words {
            assert!(message.contains(word), "`{word}` is missing in: {message}");
        }
    }
}

#[test]
fn the_first_mistake_in_the_text_is_the_one_reported() {
    assert_eq!(refusal("wblock_size = true\ndata_size = true").0, "wblock_size");
}

#[test]
fn a_file_is_named_in_its_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("brindle.toml");
    std::fs::write(&path, "stripes = 2\n").unwrap();
    assert_same(&Config::from_toml_file(&path).unwrap(), &Config::new().stripes(2), "file");

    std::fs::write(&path, "stripes = 2\nstripe = 3\n").unwrap();
    let message = Config::from_toml_file(&path).unwrap_err().to_string();
    assert!(message.contains("line 2 of") && message.contains("brindle.toml"), "{message}");

    std::fs::write(&path, b"stripes = 2\n# \xff\n").unwrap();
    let message = Config::from_toml_file(&path).unwrap_err().to_string();
    assert!(message.contains("UTF-8") && message.contains("line 2 of"), "{message}");

    let missing = Config::from_toml_file(dir.path().join("none.toml")).unwrap_err();
    assert!(matches!(missing, Error::Io { op: "read", .. }), "{missing}");
    assert!(missing.to_string().contains("none.toml") && missing.source().is_some());
}

/// A host that keeps the store's keys in a table of its own file.
#[derive(Debug, serde::Deserialize)]
struct Host {
    name: String,
    store: Config,
}

#[test]
fn a_host_can_nest_the_keys_in_its_own_configuration() {
    let host: Host =
        toml::from_str("name = \"x\"\n[store]\ndata_size = \"1GiB\"\nshadow_devices = [\"a\"]")
            .unwrap();
    assert_eq!(host.name, "x");
    assert_same(&host.store, &Config::new().data_size(1 << 30).shadow_devices(["a"]), "nested");

    for (text, words) in [
        ("data_sise = 1", ["`data_sise`", "`data_size`"]),
        ("stripes = 2026-01-01", ["`stripes`", "a table"]),
        ("defrag_sleep = 1.5", ["`defrag_sleep`", "a fraction"]),
        ("pin_cores = {}", ["`pin_cores`", "a table"]),
    ] {
        let message = toml::from_str::<Config>(text).unwrap_err().to_string();
        for word in words {
            assert!(message.contains(word), "`{word}` is missing in: {message}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = Config::from_toml(&text);
    }

    #[test]
    fn no_entry_panics(
        key in "data_size|stripes|shadow_devices|default_ttl|huge_pages|flush_max_ms|[a-z_]{1,12}",
        value in "(-?[0-9]{1,40}|\"[0-9]{0,22} ?[a-zA-Z]{0,3}\"|\\[.{0,8}\\]|\\{\\}|true|.{0,12})",
        tail in "[\\PC\n]{0,8}",
    ) {
        if let Err(error) = Config::from_toml(&format!("{key} = {value}\n{tail}")) {
            let is_by_key = matches!(error, Error::Config { .. });
            prop_assert!(is_by_key, "{}", error);
            prop_assert!(error.to_string().contains("line "), "{}", error);
        }
    }
}
