//! `publish_top`: whole snapshots, for the owner alone, for as long as the store is open.

#![cfg(feature = "top")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure fails the test")]

mod common;

use brindle::{Error, Store, TOP_VERSION};
use serde_json::Value;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

const PATIENCE: Duration = Duration::from_secs(30);

fn open() -> Store {
    Store::open(common::config(2, 16)).unwrap()
}

/// The snapshot at `path`; `None`: there is none just now.
fn read(path: &Path) -> Option<Value> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        text => Some(serde_json::from_slice(&text.unwrap()).expect("a whole document")),
    }
}

/// The first snapshot that `is_it`.
fn wait_for(path: &Path, is_it: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = read(path).filter(&is_it) {
            return found;
        }
        assert!(Instant::now() < deadline, "{:?}", read(path));
        thread::sleep(Duration::from_millis(20));
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_snapshot_says_what_the_store_says_and_the_next_one_follows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("top.json");
    let store = open();
    store.publish_top(&path).unwrap();
    let first = read(&path).expect("it is there when the call returns");
    assert!(fs::read(&path).unwrap().starts_with(b"{\"brindle_top\":"));
    assert_eq!(first["brindle_top"], TOP_VERSION);
    assert_eq!(first["pid"], std::process::id());
    assert_eq!(first["stats"]["records"], 0);
    assert_eq!(first["health"]["health"], "ok");
    assert_eq!(first["calls"], Value::Null, "nothing is measured");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    for number in 0..100_u32 {
        store.put(number.to_le_bytes(), [0; 1000]).unwrap();
    }
    let later = wait_for(&path, |now| now["stats"]["records"] == 100);
    let (mut said, mut stats) =
        (later["stats"].clone(), serde_json::to_value(store.stats()).unwrap());
    for stats in [&mut said, &mut stats] {
        // What changes by itself, or by what the other tests of this process do.
        stats["oldest_pin_ms"].take();
        stats["runway"]["seconds_left"].take();
        stats["reclaim"]["raids"].take();
    }
    assert_eq!(said, stats);
    assert!(later["number"].as_u64() > first["number"].as_u64());
    let grown = |name: &str| later[name].as_u64().unwrap() - first[name].as_u64().unwrap();
    assert!(grown("publishing_ms") > 0 && grown("written_at_us") > 0);
    assert!((100_000..2 << 20).contains(&grown("appended_bytes")), "{}", grown("appended_bytes"));
    assert_eq!(names_in(dir.path()), ["top.json"]);
}

#[test]
fn the_map_has_every_wblock_of_each_stripe() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("top.json");
    let store = open();
    for number in 0..400_u32 {
        store.put(number.to_le_bytes(), [0; 1000]).unwrap();
    }
    store.publish_top(&path).unwrap();
    let top = read(&path).unwrap();
    assert_eq!(top["map"]["wblocks_a_cell"], 1);
    let stripes = top["map"]["stripes"].as_array().unwrap();
    assert_eq!(stripes.len(), 2);
    let mut live_bytes = 0;
    for stripe in stripes {
        let (states, live) = (stripe["states"].as_str().unwrap(), stripe["live"].as_str().unwrap());
        assert_eq!((states.len(), live.len()), (16, 16), "{stripe}");
        let free = stripe["wblocks"]["free"].as_u64().unwrap();
        assert_eq!(states.matches('.').count() as u64, free, "{stripe}");
        live_bytes += stripe["live_bytes"].as_u64().unwrap();
    }
    assert_eq!(live_bytes, store.stats().live_bytes);

    let large = Store::open(common::config(2, 3000)).unwrap();
    large.publish_top(&path).unwrap();
    let top = wait_for(&path, |top| top["map"]["wblocks_a_cell"] == 2);
    let cells = top["map"]["stripes"][1]["states"].as_str().unwrap();
    assert_eq!(cells.len(), 1500, "above some thousand wblocks a cell stands for several");
}

#[test]
fn a_close_removes_it_and_so_does_the_last_clone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("top.json");
    let config = common::config(2, 16).shadow_dir(dir.path().join("data"));
    for number in 0..20_u32 {
        let store = Store::open(config.clone()).expect("the one before has closed its shadow");
        store.publish_top(&path).unwrap();
        store.put("last", number.to_le_bytes()).unwrap();
        let clone = store.clone();
        if number % 2 == 0 {
            store.close().unwrap();
            assert!(matches!(clone.publish_top(&path), Err(Error::Closed)));
        } else {
            let other = thread::spawn(move || drop(clone));
            drop(store);
            other.join().unwrap();
        }
        assert_eq!(read(&path), None);
        assert_eq!(names_in(dir.path()), ["data"]);
    }
    let store = Store::open(config).unwrap();
    assert_eq!(store.get("last").as_deref(), Some(&19_u32.to_le_bytes()[..]));
}

#[test]
fn nobody_reads_half_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("top.json");
    let store = open();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0_u32;
            while !is_over.load(Ordering::Relaxed) {
                seen += u32::from(read(&path).is_some());
            }
            seen
        });
        for number in 0..300_u32 {
            store.put(number.to_le_bytes(), [0; 100]).unwrap();
            store.publish_top(&path).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}

#[test]
fn nothing_else_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("letter"), "{\"dear\": \"reader\"}").unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("old"), "{\"brindle_top\":7,\"pid\":1").unwrap();
    symlink(at("old"), at("link")).unwrap();
    let store = open();
    for name in ["letter", "empty", "folder", "link", "nowhere/top.json", "..", ""] {
        let refused = store.publish_top(at(name)).unwrap_err();
        assert!(matches!(&refused, Error::Io { path, .. } if *path == at(name)), "{refused}");
    }
    assert_eq!(fs::read_to_string(at("letter")).unwrap(), "{\"dear\": \"reader\"}");
    assert_eq!(names_in(dir.path()), ["empty", "folder", "letter", "link", "old"]);

    store.publish_top(at("old")).expect("left behind by a host that was killed");
    assert_eq!(read(&at("old")).unwrap()["pid"], std::process::id());
    store.publish_top(at("new")).unwrap();
    assert!(!at("old").exists() && at("new").exists(), "it has moved");
    assert!(store.publish_top(at("letter")).is_err());
    assert!(!at("new").exists(), "as documented");
}

#[test]
fn it_comes_back_when_it_can_be_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, aside) = (dir.path().join("run"), dir.path().join("aside"));
    fs::create_dir(&folder).unwrap();
    let path = folder.join("top.json");
    let store = open();
    store.publish_top(&path).unwrap();
    let number = read(&path).unwrap()["number"].as_u64();
    fs::rename(&folder, &aside).unwrap();
    thread::sleep(Duration::from_millis(600));
    fs::create_dir(&folder).unwrap();
    assert!(wait_for(&path, |_| true)["number"].as_u64() > number);
}

#[test]
fn calls_are_counted_by_kind_and_timed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("top.json");
    let store = open();
    store.put("a", "before").unwrap();
    store.sample_latencies("a store", 2);
    for _ in 0..100 {
        // In turn: each kind has its own count to the next one that is measured.
        store.put("a", "1").unwrap();
        store.get("a").unwrap();
        store.get("b");
        store.delete("a").unwrap();
    }
    store.publish_top(&path).unwrap();
    let calls = &read(&path).unwrap()["calls"];
    assert_eq!(calls["one_of"], 2);
    for (kind, count) in [("get", 200), ("put", 100), ("delete", 100)] {
        assert_eq!(calls[kind]["count"], count, "{calls}");
        let buckets = calls[kind]["latency_ns"].as_array().unwrap();
        let measured: u64 = buckets.iter().map(|bucket| bucket[1].as_u64().unwrap()).sum();
        assert_eq!(measured, count / 2);
        let times: Vec<_> = buckets.iter().map(|bucket| bucket[0].as_u64().unwrap()).collect();
        assert!(times.is_sorted() && times.iter().all(|time| *time > 0), "{times:?}");
    }
    store.sample_latencies("a store", 0);
    wait_for(&path, |top| top["calls"].is_null());
}

#[test]
fn a_forked_child_leaves_it_to_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("top.json");
    let store = open();
    store.publish_top(&path).unwrap();
    // SAFETY: the child calls nothing that a lock of another thread of the parent could hold up.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let is_refused = matches!(store.publish_top(&path), Err(Error::Forked));
        drop(store);
        // SAFETY: ends the child, and runs nothing of the parent's.
        unsafe { libc::_exit(i32::from(!is_refused)) };
    }
    let mut status = 0;
    // SAFETY: a child of this process, waited for once.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child is refused, and ends");
    let number = read(&path).expect("still there")["number"].as_u64();
    wait_for(&path, |top| top["number"].as_u64() > number);
    store.close().unwrap();
}
