//! Real block devices, direct files and durable puts, from open to reopen. Loop devices need root;
//! where there are none the test says so and is skipped.
#![expect(clippy::expect_used, reason = "a refusal fails the test")]

#[path = "common_files/child.rs"]
mod child;

use brindle::{Config, Error, PutOptions, Store};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const KEYS: u32 = 2_000;

fn value(number: u32) -> Vec<u8> {
    vec![number.to_le_bytes()[0]; 300 + number as usize % 700]
}

/// Fills a store, closes it, and finds everything again; twice, the second time overwritten.
fn fill_and_reopen(config: &Config) {
    for round in 0..2 {
        let store = Store::open(config.clone()).expect("a shadow that can be opened");
        for number in 0..KEYS {
            store.put(number.to_le_bytes(), value(number + round)).expect("room");
        }
        assert!(store.delete(7_u32.to_le_bytes()).expect("room"));
        store.flush().expect("a sound disk");
        assert_eq!(store.stats().unflushed_bytes, 0, "all of it is durable");
        store.close().expect("a sound disk");
        let store = Store::open(config.clone()).expect("the same shadow");
        assert!(store.stats().load.was_clean);
        assert_eq!(store.len(), KEYS as usize - 1);
        for number in (0..KEYS).filter(|number| *number != 7) {
            let record = store.get(number.to_le_bytes()).expect("it was flushed");
            assert_eq!(*record, value(number + round));
        }
        store.close().expect("a sound disk");
    }
}

fn small() -> Config {
    Config::new().wblock_size(1 << 20).data_size(24 << 20)
}

#[test]
fn direct_files_hold_what_was_put() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = small().stripes(2).shadow_dir(dir.path().join("shadow")).direct_files(true);
    fill_and_reopen(&config);
}

#[test]
fn a_durable_put_is_on_the_file_when_it_returns() {
    let dir = tempfile::tempdir().expect("a directory");
    let shadow = dir.path().join("shadow");
    // No flush by time: what is there was brought by the puts themselves.
    let config = small().stripes(1).shadow_dir(&shadow).flush_max_ms(0);
    let store = Store::open(config.clone()).expect("a new shadow");
    store.put("waits", "for nobody").expect("room");
    store.put_with("k1", "v", &PutOptions::new().durable(true)).expect("a sound disk");
    let copy = dir.path().join("copy");
    copy_dir(&shadow, &copy);
    let seen = Store::open(small().shadow_dir(&copy)).expect("a copy of what is on the disk");
    assert!(seen.get("k1").is_some(), "it was acknowledged as durable");
    drop(seen);
    store.close().expect("a sound disk");

    let store = Store::open(config.commit_to_device(true)).expect("the same shadow");
    store.put("k2", "v").expect("a sound disk");
    let copy = dir.path().join("copy-2");
    copy_dir(&shadow, &copy);
    let seen = Store::open(small().shadow_dir(&copy)).expect("a copy of what is on the disk");
    assert!(seen.get("k1").is_some() && seen.get("k2").is_some());
}

fn copy_dir(source: &Path, target: &Path) {
    std::fs::create_dir(target).expect("a directory");
    for entry in std::fs::read_dir(source).expect("a directory") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), target.join(entry.file_name())).expect("a copy");
    }
}

/// A loop device over a file of its own, taken down again when it drops.
struct Loop(PathBuf);

impl Loop {
    fn over(file: &Path, bytes: u64) -> Option<Self> {
        File::create(file).and_then(|file| file.set_len(bytes)).expect("a file");
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output().ok()?;
        let device = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| Self(PathBuf::from(device.trim())))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

/// By no name of the device: not its own, a link, or another node of the same number; nor can the
/// system mount it.
fn a_device_is_open_once(config: &Config, devices: [&Path; 2], dir: &Path) {
    let store = Store::open(config.clone()).expect("the same shadow");
    let linked = dir.join("linked");
    std::os::unix::fs::symlink(devices[0], &linked).expect("a link");
    let node = dir.join("node");
    let number = std::fs::metadata(devices[0]).expect("a device").rdev();
    let (major, minor) = (libc::major(number).to_string(), libc::minor(number).to_string());
    let mut mknod = Command::new("mknod");
    let made = mknod.arg(&node).args(["b", &major, &minor]).status();
    let mut names = vec![devices[0], &linked];
    if made.is_ok_and(|status| status.success()) {
        names.push(&node);
    }
    for name in names {
        let name_text = name.to_str().expect("text");
        match Store::open(small().shadow_devices([name, devices[1]])) {
            Err(Error::Locked { path }) => assert_eq!(path, name),
            other => panic!("{name_text}: {other:?}"),
        }
        let argument = format!("{name_text}|{}", devices[1].display());
        let other = child::command(&[], "child_entry", "open", &argument).output();
        let said = String::from_utf8_lossy(&other.expect("a child").stdout).into_owned();
        assert!(said.contains("@Locked"), "{name_text}: {said}");
    }
    let mut mounted = Command::new("mount");
    let mounted = mounted.args(["-t", "ext4"]).args([devices[0], dir]).output().expect("mount");
    assert!(!mounted.status.success(), "mounted under an open store");
    store.close().expect("a sound disk");
}

/// Another process, which tries to open the devices.
#[test]
fn child_entry() {
    let Some((_, devices)) = child::part() else { return };
    match Store::open(small().shadow_devices(devices.split('|'))) {
        Ok(_) => child::say("Open"),
        Err(error) => child::say(&format!("{error:?}")),
    }
}

#[test]
fn raw_devices_hold_what_was_put_and_are_refused_when_too_small() {
    let dir = tempfile::tempdir().expect("a directory");
    let device = |name: &str, bytes| Loop::over(&dir.path().join(name), bytes);
    let devices = [device("a", 16 << 20), device("b", 16 << 20)];
    let [Some(a), Some(b)] = &devices else {
        // Nobody may listen.
        let _ = writeln!(std::io::stderr(), "skipped: no loop devices (losetup needs root)");
        return;
    };
    let config = small().shadow_devices([&a.0, &b.0]);
    fill_and_reopen(&config);
    a_device_is_open_once(&config, [&a.0, &b.0], dir.path());

    let Some(small_device) = device("c", 2 << 20) else { return };
    match Store::open(small().stripes(1).shadow_devices([&small_device.0])) {
        Err(Error::Config { key, reason }) => {
            assert_eq!(key, "data_size");
            assert!(reason.contains("bytes"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}
