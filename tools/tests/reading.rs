//! `info`, `verify`, `ls`, `get`, `export` on shadows that are whole, damaged, torn or in use, and
//! on what is none.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use brindle::format::{
    Found, HeaderState, SUPERBLOCK_BYTES, WblockHeader, WblockHome, WblockId, choose,
};
use brindle::{Config, Store};
use common::{arg, brindle, bytes_below, exported, golden};
use serde_json::json;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const AREA: usize = 64 << 10;
const WBLOCK: usize = 64 << 10;

fn config(dir: &Path) -> Config {
    // Nothing is flushed but by `flush` and `close`: tests know what lies where.
    let config = Config::new().data_size(1 << 20).wblock_size(WBLOCK as u64).stripes(1);
    config.flush_max_ms(0).shadow_dir(dir)
}

/// A closed store: `old` and `new` overwritten once, `gone` deleted, each flush apart.
fn closed(dir: &Path) -> PathBuf {
    let store = Store::open(config(dir)).unwrap();
    for value in ["first", "second"] {
        for key in ["new", "old", "gone"] {
            store.put(key, format!("{value} of {key}")).unwrap();
        }
        store.flush().unwrap();
    }
    store.delete("gone").unwrap();
    store.put("user:1", "Ada").unwrap();
    store.flush().unwrap();
    store.put("last", "end").unwrap();
    store.close().unwrap();
    dir.join("stripe-000.shadow")
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).expect("it is there")
}

#[test]
fn a_clean_shadow_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = closed(dir.path());
    for path in [dir.path(), &file] {
        let path = arg(path);
        assert!(
            brindle(&["verify", path]).with(0).text().starts_with("clean: 1 shadows, 16 wblocks")
        );
        let verified = brindle(&["verify", "--json", path]).with(0).json();
        assert_eq!((&verified["clean"], &verified["counts"]["torn"]), (&json!(true), &json!(0)));
        assert_eq!(
            (&verified["counts"]["records"], &verified["counts"]["tombstones"]),
            (&json!(9), &json!(1))
        );
        assert_eq!(brindle(&["get", path, "old"]).with(0).out, b"second of old");
        assert_eq!(brindle(&["get", "--hex", path, "757365723a31"]).with(0).out, b"Ada");
        let got = brindle(&["get", "--json", path, "old"]).with(0).json();
        assert_eq!((&got["key"], &got["value_text"]), (&json!("old"), &json!("second of old")));
        let absent = brindle(&["get", path, "gone"]).with(1);
        assert!(absent.out.is_empty() && absent.err.contains("gone"), "{}", absent.err);
        brindle(&["get", path, "never there"]).with(1);
        brindle(&["get", "--hex", path, "7z"]).with(2);
    }
    let path = arg(dir.path());
    let info = brindle(&["info", "--json", "--deep", path]).with(0).json();
    let member = &info["members"][0];
    assert_eq!((&member["clean"], &member["wblocks"]["total"]), (&json!(true), &json!(16)));
    let records = json!({ "live": 4, "expired": 0, "tombstones": 1, "superseded": 4, "lost": 0 });
    assert_eq!(info["records"], records);
    assert!(brindle(&["info", path]).with(0).text().contains("clean"));
    let mut keys: Vec<_> = brindle(&["ls", "--json", path]).with(0).lines();
    keys.sort_by_key(|line| line["key"].to_string());
    let names: Vec<_> = keys.iter().map(|line| line["key"].as_str().unwrap()).collect();
    assert_eq!(names, ["last", "new", "old", "user:1"]);
    assert_eq!(brindle(&["ls", path, "--prefix", "user:"]).with(0).text().lines().count(), 1);
    assert_eq!(brindle(&["ls", path, "--limit", "2"]).with(0).text().lines().count(), 2);
    assert_eq!(brindle(&["ls", path, "--limit", "0"]).with(0).text(), "");
}

#[test]
fn every_flipped_bit_of_what_was_written_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let file = closed(dir.path());
    let whole = fs::read(&file).unwrap();
    // Superblock copies, header copies, and a value that a later flush follows.
    let value = find(&whole, b"second of old");
    let last = find(&whole, b"lastend"); // in the very last flush, of a store closed in order
    for at in
        [last, last + 5, 0, 40, 4095, 32 << 10, AREA + 3, AREA + 64, AREA + 100, value, value - 10]
    {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&file, &bytes).unwrap();
        let found = brindle(&["verify", arg(dir.path())]).with(1);
        assert!(found.text().contains("damage "), "byte {at}: {}", found.text());
        let json = brindle(&["verify", "--json", arg(&file)]).with(1).json();
        assert_eq!(json["clean"], false, "byte {at}");
        assert!(json["findings"][0]["what"].is_string());
    }
}

#[test]
fn a_lost_value_hides_older_copies_of_its_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = closed(dir.path());
    let mut bytes = fs::read(&file).unwrap();
    let at = find(&bytes, b"second of old");
    bytes[at] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let found = brindle(&["verify", "--json", arg(&file)]).with(1).json();
    let finding = &found["findings"][0];
    assert_eq!((&finding["key"], &finding["is_damage"]), (&json!("old"), &json!(true)));
    assert_eq!(found["counts"]["lost_values"], 1);
    let absent = brindle(&["get", arg(&file), "old"]).with(1);
    assert!(absent.err.contains("1 damaged places"), "{}", absent.err);
    assert_eq!(exported(dir.path()).into_keys().collect::<Vec<_>>(), ["last", "new", "user:1"]);
    // As the engine sees it.
    let store = Store::open(config(dir.path())).unwrap();
    assert!(store.get("old").is_none() && store.get("new").is_some());
}

#[test]
fn what_a_cut_tore_off_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path())).unwrap();
    store.put("kept", "before").unwrap();
    store.flush().unwrap();
    store.put("kept", "after").unwrap();
    store.put("torn", "never durable").unwrap();
    store.flush().unwrap();
    let mut bytes = fs::read(dir.path().join("stripe-000.shadow")).unwrap();
    store.close().unwrap();

    let cut = tempfile::tempdir().unwrap();
    let file = cut.path().join("stripe-000.shadow");
    // Of the last flush nothing but the first record's head reached the disk.
    let at = find(&bytes, b"after");
    bytes[at..AREA + WBLOCK].fill(0);
    fs::write(&file, &bytes).unwrap();
    let verified = brindle(&["verify", "--json", arg(cut.path())]).with(0).json();
    assert_eq!((&verified["counts"]["torn"], &verified["damaged"]), (&json!(1), &json!(0)));
    assert_eq!(brindle(&["get", arg(cut.path()), "kept"]).with(0).out, b"before");
    brindle(&["get", arg(cut.path()), "torn"]).with(1);
    assert!(brindle(&["info", arg(&file)]).with(0).text().contains("not clean"));

    // What that crash tore is no rot either once the store was opened and closed again.
    let store = Store::open(config(cut.path())).unwrap();
    assert_eq!(store.get("kept").as_deref(), Some(&b"before"[..]));
    store.close().unwrap();
    let verified = brindle(&["verify", "--json", arg(cut.path())]).with(0).json();
    assert_eq!((&verified["counts"]["torn"], &verified["damaged"]), (&json!(1), &json!(0)));
}

/// What was lost whole looks like what was never written, but for the census.
#[test]
fn what_the_census_knows_and_is_gone_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let file = closed(dir.path());
    let whole = fs::read(&file).unwrap();
    let mut bytes = whole.clone();
    bytes[AREA..AREA + 128].fill(0);
    fs::write(&file, &bytes).unwrap();
    let found = brindle(&["verify", "--json", arg(dir.path())]).with(1).json();
    assert_eq!(found["counts"]["missing_wblocks"], 1);
    assert!(brindle(&["map", arg(&file)]).with(0).text().contains("  !"));

    let last = find(&whole, b"lastend") / 4096 * 4096; // the sectors of the last flush
    let mut bytes = whole.clone();
    bytes[last..last + 4096].fill(0);
    fs::write(&file, &bytes).unwrap();
    let found = brindle(&["verify", "--json", arg(dir.path())]).with(1).json();
    assert_eq!(found["counts"]["lost_places"], 1);
    assert!(found["findings"][0]["what"].as_str().unwrap().contains("rot"));
}

#[test]
fn what_cannot_be_run_on_is_status_2() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("text"), "not a shadow, whoever says so").unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(at("zeros"), vec![0; 1 << 20]).unwrap();
    fs::create_dir(at("dir")).unwrap();
    let paths =
        [at("text"), at("empty"), at("zeros"), at("dir"), at("missing"), "/dev/null".into()];
    for path in &paths {
        let path = arg(path);
        for command in [&["info"][..], &["verify"], &["ls"], &["export"]] {
            let ran = brindle(&[command, &[path]].concat()).with(2);
            assert!(ran.err.contains(path) && ran.out.is_empty(), "{}", ran.err);
        }
        brindle(&["get", path, "key"]).with(2);
    }
    brindle(&["verify"]).with(2);
    brindle(&["prune", "it"]).with(2);
    brindle(&["import", "--shadow-dir", arg(&at("new")), arg(&at("missing"))]).with(2);
    assert!(!at("new").exists(), "nothing is left behind");
    brindle(&["import", "--shadow-dir", arg(&at("new")), "--data-size", "64MB", "-"]).with(2);
    brindle(&["--help"]).with(0);
}

#[test]
fn a_shadow_whose_wblocks_were_reused_is_clean_and_no_two_lives_have_one_sequence() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path())).unwrap();
    for n in 0..3_000 {
        store.put(format!("key {}", n % 150), vec![7; 3_000]).unwrap();
    }
    let reclaim = store.stats().reclaim;
    assert!(reclaim.freed_wblocks > 50 && reclaim.moved_records > 50, "{reclaim:?}");
    store.close().unwrap();
    brindle(&["verify", arg(dir.path())]).with(0);
    assert_eq!(exported(dir.path()).len(), 150);

    // A header for a place that has none, of the life of another place.
    let file = dir.path().join("stripe-000.shadow");
    let mut bytes = fs::read(&file).unwrap();
    let Found::Superblock { superblock, .. } = choose(&bytes[..SUPERBLOCK_BYTES], &[]) else {
        panic!("a superblock in front");
    };
    let home = |place: u32| WblockHome {
        store_id: superblock.store_id,
        stripe: 0,
        wblock: WblockId(place),
        wblock_bytes: u32::try_from(WBLOCK).unwrap(),
    };
    let state =
        |place: u32| WblockHeader::decode(&bytes[AREA + place as usize * WBLOCK..], &home(place));
    let valid = (0..16).find_map(|place| {
        if let HeaderState::Valid { header, .. } = state(place) { Some(header) } else { None }
    });
    let empty = (0..16).find(|place| matches!(state(*place), HeaderState::Struck(_)));
    let (valid, empty) = (valid.expect("one in use"), empty.expect("one struck out"));
    let twin = WblockHeader { home: home(empty), ..valid }.encode();
    let at = AREA + empty as usize * WBLOCK;
    bytes[at..at + twin.len()].copy_from_slice(&twin);
    fs::write(&file, &bytes).unwrap();
    let found = brindle(&["verify", arg(dir.path())]).with(1);
    assert!(found.text().contains("is stale"), "by the census: {}", found.text());
    for at in [0, 32 << 10] {
        bytes[at..at + SUPERBLOCK_BYTES].copy_from_slice(&superblock.encode()[..]); // no census
    }
    fs::write(&file, bytes).unwrap();
    let found = brindle(&["verify", arg(dir.path())]).with(1);
    assert!(found.text().contains("has, too"), "{}", found.text());
}

#[test]
fn a_member_that_is_missing_or_short_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path()).stripes(2)).unwrap();
    for n in 0..100 {
        store.put(format!("key {n}"), vec![7; 3_000]).unwrap();
    }
    store.close().unwrap();
    let second = dir.path().join("stripe-001.shadow");
    let bytes = fs::read(&second).unwrap();
    assert_eq!(exported(dir.path()).len(), 100);

    let alone = brindle(&["verify", arg(&second)]).with(0);
    assert!(alone.text().contains("is one of 2 stripes"), "{}", alone.text());
    let first = dir.path().join("stripe-000.shadow");
    brindle(&["verify", arg(&second), "--member", arg(&first)]).with(0);

    fs::write(&second, &bytes[..AREA + WBLOCK / 2]).unwrap();
    assert!(brindle(&["verify", arg(dir.path())]).with(1).text().contains("ends at "));
    brindle(&["export", arg(dir.path())]).with(0);
    fs::write(&second, "something else").unwrap();
    brindle(&["verify", arg(dir.path())]).with(1);
    fs::remove_file(&second).unwrap();
    brindle(&["verify", arg(dir.path())]).with(1);
    brindle(&["export", arg(dir.path())]).with(0);

    // A member of another store.
    let other = tempfile::tempdir().unwrap();
    Store::open(config(other.path()).stripes(2)).unwrap().close().unwrap();
    fs::copy(other.path().join("stripe-001.shadow"), &second).unwrap();
    assert!(brindle(&["verify", arg(dir.path())]).with(1).text().contains("belongs to store"));
    brindle(&["export", arg(dir.path())]).with(2);

    // Both superblock copies of the only member.
    let mut whole = fs::read(&first).unwrap();
    whole[100] ^= 1;
    whole[(32 << 10) + 100] ^= 1;
    fs::write(&first, whole).unwrap();
    brindle(&["verify", arg(&first)]).with(1);
    brindle(&["export", arg(&first)]).with(2);
}

/// Overwrites 50 keys, some thousand times a second, until `stopped` hears something.
fn keep_writing(store: &Store, stopped: &Receiver<()>) {
    for n in 0_u64.. {
        if n % 8 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let put = store.put(format!("moving {}", n % 50), vec![b'm'; 400]);
        if put.is_err() || stopped.try_recv().is_ok() {
            break;
        }
    }
}

#[test]
fn a_shadow_in_use_is_read_beside_its_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path()).data_size(128 << 20).flush_max_ms(1)).unwrap();
    for n in 0..500 {
        store.put(format!("key {n}"), "steady").unwrap();
    }
    store.flush().unwrap();
    let path = arg(dir.path());
    std::thread::scope(|scope| {
        let (stop, stopped) = channel::<()>();
        let store = &store;
        scope.spawn(move || keep_writing(store, &stopped));
        for _ in 0..3 {
            brindle(&["verify", path]).with(0);
            brindle(&["info", path]).with(0);
            brindle(&["info", "--deep", path]).with(0);
            brindle(&["map", path]).with(0);
            brindle(&["wblock", path, "0"]).with(0);
            brindle(&["report", "--html", "-", path]).with(0);
            let history = brindle(&["history", "--json", path, "key 7"]).with(0).json();
            assert_eq!(history["versions"][0]["fate"], "alive");
            assert_eq!(brindle(&["get", path, "key 7"]).with(0).out, b"steady");
            let listed = brindle(&["ls", "--prefix", "key ", path]).with(0);
            assert_eq!(listed.text().lines().count(), 500);
        }
        let _ = stop.send(());
    });
    store.put("still", "writable").unwrap();
    store.close().unwrap();
    assert_eq!(brindle(&["get", path, "still"]).with(0).out, b"writable");
}

#[test]
fn a_reading_command_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path());
    let before = bytes_below(dir.path());
    let path = arg(dir.path());
    for args in [
        &["info", path][..],
        &["info", "--deep", path],
        &["verify", path],
        &["ls", path],
        &["get", path, "old"],
        &["export", path],
        &["map", path],
        &["wblock", path, "0"],
        &["record", path, "0:8"],
        &["history", path, "old"],
        &["stats", path],
        &["diff", path, path],
        &["report", "--html", "-", path],
    ] {
        brindle(args).with(0);
        assert!(bytes_below(dir.path()) == before, "{args:?}");
    }
}

#[test]
fn a_closed_pipe_is_success() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path()).data_size(8 << 20)).unwrap();
    for n in 0..2_000 {
        store.put(format!("key {n}"), "x".repeat(500)).unwrap();
    }
    store.close().unwrap();
    for command in ["export", "ls"] {
        let mut child = common::tool()
            .args([command, arg(dir.path())])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 10]).unwrap();
        drop(out);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{:?}", output.status);
        assert!(output.stderr.is_empty(), "{}", output.stderr.escape_ascii());
    }
}

#[test]
fn the_golden_shadow_is_read() {
    let golden = golden();
    let path = arg(&golden);
    let verified = brindle(&["verify", "--json", path]).with(0).json();
    assert_eq!(
        (&verified["counts"]["records"], &verified["counts"]["wblocks"]),
        (&json!(5), &json!(2))
    );
    let info = brindle(&["info", "--json", path]).with(0).json();
    assert_eq!(info["members"][0]["store_id"], "676f6c64656e2073746f726520696421");
    assert_eq!(brindle(&["get", path, "key"]).with(0).out, b"value", "not the older `fresh`");
    assert!(brindle(&["ls", path]).with(0).text().contains("key"));
}

#[test]
fn no_golden_byte_that_is_changed_makes_the_tool_fail() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("stripe-000.shadow");
    let whole = fs::read(golden()).unwrap();
    for seed in 0..40_usize {
        let mut bytes = whole.clone();
        for n in 0..8 {
            let at = (seed * 7_919 + n * 104_729) * 31 % (WBLOCK * 3);
            bytes[at] = bytes[at].wrapping_add(1 + u8::try_from(n).unwrap());
        }
        if seed % 4 == 3 {
            bytes.truncate(seed * 4_801);
        }
        fs::write(&file, bytes).unwrap();
        let status = brindle(&["verify", arg(&file)]).status;
        assert!((0..=2).contains(&status));
        assert!([0, 2].contains(&brindle(&["export", arg(&file)]).status));
    }
}

#[test]
fn keys_cannot_write_on_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path())).unwrap();
    store.put(b"\x1b[2Jcleared\xff", "x").unwrap();
    store.close().unwrap();
    let listed = brindle(&["ls", arg(dir.path())]).with(0);
    assert!(listed.text().contains("\\x1b[2Jcleared\\xff") && !listed.out.contains(&0x1b));
    let line = &brindle(&["ls", "--json", arg(dir.path())]).with(0).lines()[0];
    assert_eq!(line["key_hex"], "1b5b324a636c6561726564ff");
}
