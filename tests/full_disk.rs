//! No space: full file systems, members with holes, devices that promise more than they have, and
//! the limit on the size of a file.
//!
//! What was acknowledged as durable is there once there is space again; what cannot be opened is
//! left as it is; and nothing panics or hangs. The journal of the child and the oracle are those
//! of `kill`.
//!
//! File systems need root. `BRINDLE_SEED` repeats a run.
#![expect(clippy::expect_used, reason = "a failed step of a test is the test's failure")]

#[path = "common_files/child.rs"]
mod child;
#[path = "common_faults/mod.rs"]
mod faults;
#[path = "common_files/rng.rs"]
mod rng;
#[path = "common_files/skip.rs"]
mod skip;

use brindle::testing::Prefer;
use brindle::{Config, Error, Store};
use faults::disks::{self, Loop, Mount, text};
use faults::oracle::Oracle;
use faults::victim::Victim;
use faults::work::{self, Setup};
use faults::{in_lanes, say, seed};
use skip::skip_cases;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const WBLOCK_BYTES: u64 = 64 << 10;
const MIB: u64 = 1 << 20;
/// Tells the child the limit on its files once its store is open.
const LIMIT: &str = "BRINDLE_TEST_FILE_BYTES";
const IGNORES: &str = "BRINDLE_TEST_IGNORES_SIGXFSZ";
const BOTH: [Prefer; 2] = [Prefer::Ring, Prefer::Blocking];
const WRITES: u64 = 250;

/// The child's part.
#[test]
fn child_entry() {
    work::play_after(|| {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        if number(IGNORES).is_some() {
            // SAFETY: ignores a signal, which runs nothing of ours.
            unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        }
        if let Some(bytes) = number(LIMIT) {
            limit_files(bytes);
        }
    });
}

fn limit_files(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: `limit` is readable and of the type that is asked for.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
    assert_eq!(done, 0);
}

fn scratch() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// A file system of some mebibytes, by its kind.
fn disk(kind: &str, scratch: &Path, bytes: u64) -> Result<Mount, String> {
    let place = scratch.join("disk");
    if kind == "tmpfs" {
        return Mount::tmpfs(&place, bytes);
    }
    if !disks::is_root() {
        return Err("only root can mount".into());
    }
    let image = scratch.join("image");
    disks::make_ext4(&image, bytes)?;
    Mount::ext4(&image, &place)
}

/// Runs `case` for each disk; says how many were left out where there are none.
fn on_disks<T: Send + Sync>(
    cases: &[(&'static str, T)],
    bytes: u64,
    case: impl Fn(&Mount, &T, &str) + Sync,
) {
    let probe = scratch();
    if let Err(reason) = disk("ext4", probe.path(), 8 * MIB).and_then(Mount::take_off) {
        return skip_cases(cases.len() as u64, &reason);
    }
    in_lanes(2, cases, |(kind, parameter)| {
        let scratch = scratch();
        let mount = disk(kind, scratch.path(), bytes).expect("as the probe");
        case(&mount, parameter, kind);
        mount.take_off().expect("nobody uses it");
    });
    say(&format!("{} cases", cases.len()));
}

fn small(dir: &Path) -> Config {
    let config = Config::new().data_size(2 * MIB).wblock_size(WBLOCK_BYTES).stripes(2);
    config.prefault(false).shadow_dir(dir)
}

/// Names and bytes of the files in `dir`.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let file = |path: &Path| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read(path).expect("a file"))
    };
    let mut files: Vec<_> = entries.map(|entry| file(&entry.expect("an entry").path())).collect();
    files.sort();
    files
}

#[test]
fn a_store_is_created_whole_or_not_at_all() {
    // A store takes a little over 2 MiB: from no space at all to more than that.
    let lefts = (0..12).map(|step| step * 224 * 1024);
    let cases: Vec<_> = lefts.flat_map(|left| [("ext4", left), ("tmpfs", left)]).collect();
    let refused = Mutex::new(0);
    on_disks(&cases, 16 * MIB, |Mount(place), left, kind| {
        disks::fill(place, "filling", *left);
        let shadow = place.join("new").join("shadow");
        match Store::open(small(&shadow)) {
            Ok(store) => {
                for key in 0_u32..200 {
                    store.put(key.to_le_bytes(), [7; 1000]).expect("its space is reserved");
                }
                store.close().expect("its space is reserved");
            }
            Err(Error::Io { source, .. }) => {
                assert_eq!(source.kind(), std::io::ErrorKind::StorageFull, "{kind}, {left}");
                assert!(!place.join("new").exists(), "{kind}, {left}: something is left behind");
                *refused.lock().expect("no lane has failed") += 1;
            }
            Err(other) => panic!("{kind}, {left}: {other}"),
        }
        disks::empty(place, "filling");
        let store = open_again(&shadow);
        store.put("key", "value").expect("there is room");
        store.close().expect("there is space");
    });
    let refused = refused.into_inner().expect("no lane has failed");
    say(&format!("{refused} refused"));
    assert!(refused == 0 || refused >= 8, "{refused}");
}

#[test]
fn a_snapshot_is_written_whole_or_not_at_all() {
    let lefts = (0..6).map(|step| step * 448 * 1024);
    let cases: Vec<_> = lefts.flat_map(|left| [("ext4", left), ("tmpfs", left)]).collect();
    let source = scratch();
    let store = Store::open(small(&source.path().join("source"))).expect("there is space");
    for key in 0_u32..500 {
        store.put(key.to_le_bytes(), [7; 1000]).expect("there is room");
    }
    let refused = Mutex::new(0);
    on_disks(&cases, 16 * MIB, |Mount(place), left, kind| {
        disks::fill(place, "filling", *left);
        let copy = place.join("new").join("copy");
        match store.snapshot(&copy) {
            Ok(_) => {}
            Err(Error::Io { source, .. }) => {
                assert_eq!(source.kind(), std::io::ErrorKind::StorageFull, "{kind}, {left}");
                assert!(!place.join("new").exists(), "{kind}, {left}: something is left behind");
                *refused.lock().expect("no lane has failed") += 1;
                disks::empty(place, "filling");
                soon(|| store.snapshot(&copy));
            }
            Err(other) => panic!("{kind}, {left}: {other}"),
        }
        let copy = Store::open(small(&copy)).expect("it is whole");
        assert_eq!(copy.len(), 500, "{kind}, {left}");
        copy.close().expect("its space is reserved");
    });
    let refused = refused.into_inner().expect("no lane has failed");
    say(&format!("{refused} refused"));
    assert!(refused == 0 || refused >= 4, "{refused}");
}

/// Does what there is space for again. What was freed may be given out only some moments after the
/// journal's commit.
fn soon<T>(again: impl Fn() -> brindle::Result<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match again() {
            Ok(done) => return done,
            Err(Error::Io { source, .. })
                if source.kind() == std::io::ErrorKind::StorageFull
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("there is space again: {error}"),
        }
    }
}

fn open_again(shadow: &Path) -> Store {
    soon(|| Store::open(small(shadow)))
}

/// Replaces a file by its copy, as a backup tool makes it that keeps no zeros.
fn copy_with_holes(path: &Path) {
    let bytes = fs::read(path).expect("a file");
    let copy = path.with_extension("copy");
    let file = fs::File::create(&copy).expect("a file");
    file.set_len(bytes.len() as u64).expect("a file with a hole");
    for (at, sector) in (0_u64..).zip(bytes.chunks(4096)) {
        if sector.iter().any(|byte| *byte != 0) {
            file.write_all_at(sector, at * 4096).expect("there is space");
        }
    }
    file.sync_all().expect("there is space");
    fs::rename(copy, path).expect("the same directory");
}

#[test]
fn members_with_holes_get_their_space_at_open_or_are_refused_untouched() {
    let cases: Vec<_> = [0, 512 << 10, MIB, 4 * MIB]
        .into_iter()
        .flat_map(|left| [("ext4", left), ("tmpfs", left)])
        .collect();
    on_disks(&cases, 24 * MIB, |Mount(place), left, kind| {
        let shadow = place.join("shadow");
        let store = Store::open(small(&shadow)).expect("there is space");
        store.put("old", [1; 3000]).expect("there is room");
        store.close().expect("there is space");
        for stripe in 0..2 {
            let member = shadow.join(format!("stripe-00{stripe}.shadow"));
            copy_with_holes(&member);
        }
        disks::fill(place, "filling", *left);
        let before = files(&shadow);
        match Store::open(small(&shadow)) {
            Ok(store) => {
                assert!(*left > MIB, "{kind}, {left}: it promises what it does not have");
                for key in 0_u32..1000 {
                    store.put(key.to_le_bytes(), [7; 1000]).expect("its space is reserved");
                }
                store.close().expect("its space is reserved");
            }
            Err(Error::Io { op, source, .. }) => {
                assert_eq!((op, source.kind()), ("allocate", std::io::ErrorKind::StorageFull));
                assert!(*left <= MIB, "{kind}, {left}: there was space");
                assert!(files(&shadow) == before, "{kind}, {left}: changed by a refusal");
            }
            Err(other) => panic!("{kind}, {left}: {other}"),
        }
        disks::empty(place, "filling");
        let store = open_again(&shadow);
        assert_eq!(store.get("old").as_deref(), Some(&[1; 3000][..]));
        store.close().expect("there is space");
    });
}

/// A child's whole run on `setup`; how it ended is for the oracle to judge.
fn run(
    setup: &Setup,
    oracle: &mut Oracle,
    variables: &[(&str, u64)],
) -> (Vec<String>, Option<i32>) {
    let mut command = child::command(&[], "child_entry", "finish", &setup.encode());
    for (name, number) in variables {
        command.env(name, number.to_string());
    }
    let mut victim = Victim::run(&mut command);
    victim.go_on();
    let (status, complaints) = victim.finish();
    assert!(!complaints.contains("panicked"), "{setup:?}: {complaints}");
    oracle.read(&setup.journal);
    let said = victim.said.iter().filter(|line| *line != "reads").cloned().collect();
    (said, status.signal())
}

fn check(setup: &Setup, oracle: &mut Oracle, context: &str) {
    let store = setup.open().unwrap_or_else(|error| panic!("{context}: {error}"));
    oracle.check(&store, context);
    store.close().unwrap_or_else(|error| panic!("{context}: {error}"));
}

/// The system's loop driver takes a short write of its file, as a full file system answers, for a
/// whole one: such a device lies, and what can be asked is that nothing wrong is read.
#[test]
fn a_device_that_has_less_than_it_promises_brings_nothing_wrong() {
    let seed = seed();
    let lost = Mutex::new(0);
    let mut cases = Vec::new();
    for (at, left) in [0, 64 << 10, 192 << 10, 512 << 10].into_iter().enumerate() {
        for (prefer, is_raw) in
            BOTH.into_iter().flat_map(|prefer| [(prefer, true), (prefer, false)])
        {
            cases.push(("tmpfs", (left, prefer, is_raw, (seed ^ (at as u64) << 40) >> 8)));
        }
    }
    on_disks(&cases, 96 * MIB, |Mount(place), (left, prefer, is_raw, seed), _| {
        let context = format!("{left}, {prefer:?}, raw {is_raw}, seed {seed}");
        let outside = scratch();
        let image = place.join("image");
        let inner = place.join("inner");
        if *is_raw {
            let file = fs::File::create(&image).expect("a file");
            file.set_len(32 * MIB).expect("a file with a hole");
        } else {
            disks::make_ext4(&image, 64 * MIB).expect("as the probe");
        }
        let mut oracle = Oracle::of_a_faulty_disk();
        let mut setup = Setup {
            prefer: *prefer,
            is_device: *is_raw,
            writes: WRITES,
            ..Setup::new(inner.join("shadow"), outside.path().join("journal"), *seed)
        };
        for turn in 0..3 {
            let (device, mount) = if *is_raw {
                (Some(Loop::over(&image).expect("as the probe")), None)
            } else {
                (None, Some(Mount::ext4(&image, &inner).expect("as the probe")))
            };
            if let Some(device) = &device {
                setup.shadow.clone_from(&device.0);
            }
            match turn {
                // Sound; then without space behind it; then with what that left.
                0 => assert_eq!(run(&setup, &mut oracle, &[]).0.last().expect("a word"), "closed"),
                1 => {
                    disks::fill(place, "filling", *left);
                    run(&setup.clone().run(1), &mut oracle, &[]);
                    disks::empty(place, "filling");
                }
                _ => {
                    let store = setup.open().unwrap_or_else(|error| panic!("{context}: {error}"));
                    let keys = oracle.check_after_lies(&store, &context);
                    store.close().unwrap_or_else(|error| panic!("{context}: {error}"));
                    *lost.lock().expect("no lane has failed") += keys;
                }
            }
            if let Some(mount) = mount {
                mount.take_off().expect("nobody uses it");
            }
        }
    });
    say(&format!("{} keys lost", lost.into_inner().expect("no lane has failed")));
}

#[test]
fn a_limit_on_the_size_of_files_loses_nothing_durable() {
    let seed = seed();
    let mut cases = Vec::new();
    for prefer in BOTH {
        for ignores in [false, true] {
            // The child's journal stays below.
            for limit in [160 << 10, 224 << 10, 320 << 10, 32 * MIB] {
                cases.push((prefer, ignores, limit, (seed ^ (cases.len() as u64) << 40) >> 8));
            }
        }
    }
    let killed = Mutex::new(0);
    in_lanes(2, &cases, |(prefer, ignores, limit, seed)| {
        let context = format!("{prefer:?}, ignores {ignores}, limit {limit}, seed {seed}");
        let scratch = scratch();
        let (shadow, journal) = (scratch.path().join("shadow"), scratch.path().join("journal"));
        let setup = Setup { prefer: *prefer, writes: WRITES, ..Setup::new(shadow, journal, *seed) };
        let mut oracle = Oracle::of_a_faulty_disk();
        run(&setup, &mut oracle, &[]);
        let mut variables = vec![(LIMIT, *limit)];
        if *ignores {
            variables.push((IGNORES, 1));
        }
        let (said, signal) = run(&setup.clone().run(1), &mut oracle, &variables);
        // A library handles no signals: who lowers the limit later, and does not ignore what the
        // system says then, is told by the end.
        let is_killed = signal == Some(libc::SIGXFSZ);
        assert!(!is_killed || !ignores, "{context}: {said:?}");
        assert!(is_killed || signal.is_none(), "{context}: {signal:?}");
        if *limit == 32 * MIB {
            assert_eq!(said.last().map(String::as_str), Some("closed"), "{context}: {said:?}");
        }
        *killed.lock().expect("no lane has failed") += u64::from(is_killed);
        check(&setup, &mut oracle, &context);
    });
    let killed = killed.into_inner().expect("no lane has failed");
    say(&format!("{} cases, {killed} killed by SIGXFSZ", cases.len()));
}

/// The child of [`a_shadow_above_the_limit_is_refused_at_open`].
#[test]
fn limited_entry() {
    let Some((part, dir)) = child::part() else { return };
    limit_files(part.parse().expect("a limit"));
    match Store::open(small(Path::new(&dir))) {
        Ok(store) => {
            store.put("new", [2; 1000]).expect("there is room");
            store.close().expect("a sound disk");
            child::say("opened");
        }
        Err(error) => child::say(&format!("{error:?}")),
    }
}

#[test]
fn a_shadow_above_the_limit_is_refused_at_open() {
    let scratch = scratch();
    let shadow = scratch.path().join("shadow");
    let store = Store::open(small(&shadow)).expect("a new store");
    store.put("old", "value").expect("there is room");
    store.close().expect("a sound disk");
    let bytes = files(&shadow).iter().map(|(_, bytes)| bytes.len() as u64).max().expect("two");
    for limit in [4096, 64 << 10, bytes - 1, bytes, bytes + 1] {
        let before = files(&shadow);
        let mut command = child::command(&[], "limited_entry", &limit.to_string(), text(&shadow));
        let output = command.output().expect("a child");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if limit < bytes {
            assert!(said.contains("@Io") && said.contains("FileTooLarge"), "{limit}: {said}");
            assert!(files(&shadow) == before, "{limit}: changed by a refusal");
        } else {
            assert!(said.contains("@opened"), "{limit}: {said}");
        }
    }
    assert_eq!(Store::open(small(&shadow)).expect("a sound store").len(), 2);
}
