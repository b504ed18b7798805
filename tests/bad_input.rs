//! What a store is given and cannot use: each case has an error of its own, which names what is
//! wrong, where, and what to do; and nothing is changed, down to the last byte and directory entry.
//!
//! Cases that need root, another user or a small disk are left out where they cannot be had, and
//! say so.
#![expect(clippy::expect_used, reason = "a failed step of a test is the test's failure")]

#[path = "common_files/child.rs"]
mod child;
#[path = "common_files/skip.rs"]
mod skip;

use brindle::format::{SUPERBLOCK_AREA_BYTES, SUPERBLOCK_COPY_B_OFFSET};
use brindle::testing::{Harness, Prefer};
use brindle::{Config, Error, PutOptions, RECORD_HEADER_BYTES_MAX, Store};
use skip::skip;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const WBLOCK_BYTES: u64 = 64 << 10;
const NOBODY: libc::uid_t = 65_534;

fn scratch() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn small() -> Config {
    Config::new().data_size(8 * WBLOCK_BYTES).wblock_size(WBLOCK_BYTES).stripes(2).prefault(false)
}

/// What a file or directory is, down to its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Dir,
    File(Vec<u8>),
    /// By the bits of its mode.
    Other(u32),
}

/// Everything below `dir`.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            let metadata = fs::symlink_metadata(&path).expect("it is there");
            let entry = if metadata.is_dir() {
                dirs.push(path.clone());
                Entry::Dir
            } else if metadata.is_file() {
                Entry::File(fs::read(&path).expect("a file"))
            } else {
                Entry::Other(metadata.mode())
            };
            found.insert(path, entry);
        }
    }
    found
}

/// Opens what cannot be opened. The message holds `words`, and nothing below `dir` has changed.
fn refuse(dir: &Path, config: Config, words: &[&str]) -> Error {
    let before = tree(dir);
    let error = Store::open(config).expect_err("it cannot be opened");
    assert!(tree(dir) == before, "{error}: something below the directory has changed");
    says(&error, words);
    error
}

fn says(error: &Error, words: &[&str]) {
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "`{word}` is missing in: {message}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A store of two members with one record, closed.
fn sound(dir: &Path) -> Vec<PathBuf> {
    let store = Store::open(small().shadow_dir(dir)).expect("a new store");
    store.put("key", "value").expect("there is room");
    store.close().expect("a sound disk");
    (0..2).map(|stripe| dir.join(format!("stripe-00{stripe}.shadow"))).collect()
}

#[test]
fn a_key_has_1_to_65_535_bytes() {
    let config = small().data_size(32 * WBLOCK_BYTES).wblock_size(2 * WBLOCK_BYTES);
    let store = Store::open(config).expect("memory");
    let long = vec![b'k'; 65_536];
    for (key, word) in [(&long[..0], "empty"), (&long[..], "65535")] {
        let is_it = |error: &Error| match key.len() {
            0 => matches!(error, Error::EmptyKey),
            _ => matches!(error, Error::KeyTooLong),
        };
        let errors = [
            store.put(key, "").expect_err("refused"),
            store.delete(key).expect_err("refused"),
            store.update(key, |_| Some(Vec::new())).expect_err("refused"),
        ];
        for error in errors {
            assert!(is_it(&error), "{error}");
            says(&error, &[word]);
        }
        assert!(store.get(key).is_none() && !store.contains_key(key));
    }
    let longest = long.get(1..).expect("65,535 bytes");
    store.put(longest, "fits").expect("the longest key");
    assert_eq!(store.get(longest).as_deref(), Some(&b"fits"[..]));
    assert!(store.delete(longest).expect("the longest key"));
    assert_eq!(store.len(), 0);
}

#[test]
fn a_record_fits_exactly_or_is_refused() {
    let room = usize::try_from(WBLOCK_BYTES).expect("small") - 128 - RECORD_HEADER_BYTES_MAX;
    let limits = [(small(), room), (small().max_record_size(1000), 1000 - RECORD_HEADER_BYTES_MAX)];
    for (config, most) in limits {
        let dir = scratch();
        for config in [config.clone(), config.shadow_dir(dir.path())] {
            let store = Store::open(config).expect("a new store");
            let value = vec![7; most - 3 + 1];
            let fits = value.get(1..).expect("one less");
            let ttl = PutOptions::new().ttl(Duration::from_secs(60));
            for options in [PutOptions::new(), ttl] {
                store.put_with("key", fits, &options).expect("it fits exactly");
                assert_eq!(store.get("key").as_deref(), Some(fits));
                let error = store.put_with("key", &value, &options).expect_err("one too many");
                assert!(
                    matches!(error, Error::RecordTooLarge { size, limit } if size == limit + 1)
                );
                let limit = (most + RECORD_HEADER_BYTES_MAX).to_string();
                says(&error, &[&limit, "max_record_size"]);
                assert_eq!(store.get("key").as_deref(), Some(fits), "unchanged");
            }
        }
    }
}

#[test]
fn a_configuration_that_cannot_be_used_names_its_key() {
    let dir = scratch();
    let shadow = dir.path().join("shadow");
    let with = |config: Config| config.shadow_dir(&shadow);
    let cases: Vec<(Config, &str)> = vec![
        (with(small().stripes(0)), "stripes"),
        (with(small().stripes(2000)), "stripes"),
        (with(small().data_size(0)), "data_size"),
        (with(small().data_size(WBLOCK_BYTES)), "data_size"),
        (with(small().data_size(u64::MAX)), "data_size"),
        (with(small().wblock_size(100_000)), "wblock_size"),
        (with(small().wblock_size(16 << 20)), "wblock_size"),
        (with(small().max_record_size(1)), "max_record_size"),
        (with(small().max_record_size(WBLOCK_BYTES)), "max_record_size"),
        (with(small().flush_size(3)), "flush_size"),
        (with(small().flush_max_ms(u64::MAX)), "flush_max_ms"),
        (with(small().max_write_cache(1)), "max_write_cache"),
        (with(small().defrag_lwm_pct(0)), "defrag_lwm_pct"),
        (with(small().evict_used_pct(101)), "evict_used_pct"),
        (with(small().expected_records(u64::MAX)), "expected_records"),
        (with(small().commit_to_device(true).disable_odsync(true)), "disable_odsync"),
        (with(small().shadow_devices(["a"])), "shadow_devices"),
        (small().commit_to_device(true), "shadow_dir"),
        (small().shadow_devices(["same", "same"]), "shadow_devices"),
        (small().shadow_devices(["one"]), "stripes"),
        (small().shadow_devices(Vec::<PathBuf>::new()), "shadow_devices"),
        (small().shadow_dir(""), "shadow_dir"),
    ];
    for (config, key) in cases {
        let error = refuse(dir.path(), config, &[key]);
        assert!(matches!(error, Error::Config { .. }), "{error}");
    }
    let unknown = Config::from_toml("data_sise = \"1GiB\"");
    says(&unknown.expect_err("no such key"), &["data_sise"]);
    let store = Store::open(small()).expect("memory");
    let error = store.bind_thread(2).expect_err("there are two");
    assert!(matches!(error, Error::Config { .. }), "{error}");
    says(&error, &["bind_thread(2)", "0 to 1"]);
    let error = store.put_with("key", "", &PutOptions::new().durable(true));
    says(&error.expect_err("nothing is durable here"), &["durable", "shadow"]);
    assert!(store.is_empty());
}

#[test]
fn more_stripes_than_cores_work() {
    let dir = scratch();
    let config = small().stripes(40).data_size(160 * WBLOCK_BYTES).shadow_dir(dir.path());
    let store = Store::open(config.clone()).expect("a new store");
    for stripe in 0..40 {
        let _binding = store.bind_thread(stripe).expect("it exists");
        store.put(stripe.to_string(), "value").expect("there is room");
    }
    store.close().expect("a sound disk");
    assert_eq!(Store::open(config).expect("a sound store").len(), 40);
}

#[test]
fn what_is_no_file_is_not_a_shadow() {
    let dir = scratch();
    let path = dir.path().join("thing");
    let is_not = |error: Error| assert!(matches!(error, Error::NotAShadow { .. }), "{error}");
    let one = |path: &Path| small().stripes(1).shadow_devices([path]);

    let error = refuse(dir.path(), one(&path), &[text(&path), "find"]);
    assert!(matches!(error, Error::Io { .. }), "{error}");

    fs::write(&path, "a file").expect("a file");
    let below = path.join("below");
    is_not(refuse(dir.path(), small().shadow_dir(&path), &[text(&path), "directory"]));
    refuse(dir.path(), small().shadow_dir(&below), &[text(dir.path())]);
    is_not(refuse(dir.path(), one(dir.path()), &["a directory"]));
    is_not(refuse(dir.path(), one(Path::new("/dev/null")), &["/dev/null", "character device"]));

    let fifo = dir.path().join("fifo");
    let name = std::ffi::CString::new(fifo.as_os_str().as_bytes()).expect("a plain path");
    // SAFETY: `name` is a C string that outlives the call.
    let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
    assert_eq!(made, 0);
    is_not(refuse(dir.path(), one(&fifo), &["a FIFO"]));
    let in_dir = dir.path().join("shadow");
    fs::create_dir(&in_dir).expect("a directory");
    fs::rename(&fifo, in_dir.join("stripe-000.shadow")).expect("the same file system");
    is_not(refuse(dir.path(), small().shadow_dir(&in_dir), &["a FIFO"]));
}

#[test]
fn files_of_others_are_left_alone() {
    let dir = scratch();
    let path = dir.path().join("file");
    let one = || small().stripes(1).shadow_devices([&path]);
    let exact = SUPERBLOCK_AREA_BYTES + 8 * WBLOCK_BYTES;
    let zeros = |bytes: u64| vec![0; usize::try_from(bytes).expect("small")];
    let foreign: Vec<Vec<u8>> = vec![
        b"SQLite format 3\0".repeat(600),
        b"x".to_vec(),
        vec![0xff; 100_000],
        zeros(1),
        zeros(exact - 4096),
        zeros(exact + 4096),
        [zeros(4096), b"behind".to_vec(), zeros(SUPERBLOCK_COPY_B_OFFSET)].concat(),
    ];
    for bytes in foreign {
        fs::write(&path, &bytes).expect("a file");
        let error = refuse(dir.path(), one(), &[text(&path)]);
        assert!(matches!(error, Error::NotAShadow { .. }), "{} bytes: {error}", bytes.len());
    }
    for bytes in [zeros(0), zeros(exact)] {
        fs::write(&path, &bytes).expect("a file");
        let store = Store::open(one()).expect("a creation that was cut short");
        store.put("key", "value").expect("there is room");
        store.close().expect("a sound disk");
        assert_eq!(fs::metadata(&path).expect("a file").len(), exact);
        assert_eq!(Store::open(one()).expect("a sound store").len(), 1);
    }
}

#[test]
fn a_newer_format_is_not_touched() {
    let dir = scratch();
    let members = sound(dir.path());
    let first = members.first().expect("two members");
    let mut bytes = fs::read(first).expect("a file");
    for copy in [0, usize::try_from(SUPERBLOCK_COPY_B_OFFSET).expect("small")] {
        let copy = bytes.get_mut(copy..copy + 4096).expect("a superblock");
        copy.get_mut(8..12).expect("a version").copy_from_slice(&7_u32.to_le_bytes());
        let checked = copy.get(..4088).expect("a superblock");
        let checksum = xxhash_rust::xxh3::xxh3_64(checked).to_le_bytes();
        copy.get_mut(4088..).expect("a checksum").copy_from_slice(&checksum);
    }
    fs::write(first, bytes).expect("a file");
    let error = refuse(dir.path(), small().shadow_dir(dir.path()), &[text(first), "7"]);
    assert!(matches!(error, Error::UnsupportedFormat { version: 7, .. }), "{error}");
}

#[test]
fn members_belong_together() {
    let (dir, other) = (scratch(), scratch());
    let members = sound(dir.path());
    let others = sound(other.path());
    let [a, b] = members.as_slice() else { panic!("two members") };
    let [other_a, _] = others.as_slice() else { panic!("two members") };
    let devices = |paths: &[&PathBuf]| small().shadow_devices(paths);
    let is_mismatch = |error: Error, what: &str| {
        let Error::ShadowMismatch { what: found, .. } = error else { panic!("{error}") };
        assert_eq!(found, what);
    };
    is_mismatch(refuse(dir.path(), devices(&[b, a]), &[text(b)]), "stripe number");
    is_mismatch(refuse(dir.path(), devices(&[a, other_a]), &[text(other_a)]), "store id");
    let one = Config::new().shadow_devices([a]);
    is_mismatch(refuse(dir.path(), one, &["2", "1"]), "number of members");
    let third = dir.path().join("third");
    fs::write(&third, "").expect("a file");
    let config = Config::new().shadow_devices([a, b, &third]);
    refuse(dir.path(), config, &[text(&third)]);
    fs::remove_file(&third).expect("it is there");

    for (config, what) in [
        (small().stripes(3).data_size(12 * WBLOCK_BYTES), "stripes"),
        (small().wblock_size(2 * WBLOCK_BYTES).data_size(16 * WBLOCK_BYTES), "wblock_size"),
        (small().data_size(80 * WBLOCK_BYTES), "data_size"),
    ] {
        let config = config.shadow_dir(dir.path());
        is_mismatch(refuse(dir.path(), config, &[text(dir.path()), "configure"]), what);
    }
    let away = other.path().join("away");
    fs::rename(b, &away).expect("the same file system");
    let config = || small().shadow_dir(dir.path());
    let error = refuse(dir.path(), config(), &[]);
    assert!(matches!(error, Error::ShadowMismatch { .. }), "the last is missing: {error}");
    fs::rename(&away, b).expect("the same file system");
    fs::rename(a, &away).expect("the same file system");
    is_mismatch(refuse(dir.path(), config(), &[text(a)]), "presence");
    fs::rename(&away, a).expect("the same file system");
    assert_eq!(Store::open(config()).expect("sound again").len(), 1);
}

#[test]
fn what_is_left_out_the_shadow_knows() {
    let dir = scratch();
    let config = || Config::new().shadow_dir(dir.path()).prefault(false);
    let create = config().stripes(3).wblock_size(WBLOCK_BYTES).data_size(12 * WBLOCK_BYTES);
    let store = Store::open(create).expect("a new store");
    store.put("key", "value").expect("there is room");
    store.close().expect("a sound disk");
    for config in [
        config(),
        config().stripes(3),
        config().wblock_size(WBLOCK_BYTES),
        config().data_size(12 * WBLOCK_BYTES),
        config().data_size(11 * WBLOCK_BYTES + 1).stripes(3),
    ] {
        let store = Store::open(config).expect("the shadow knows the rest");
        let stats = store.stats();
        assert_eq!((stats.stripes, u64::from(stats.wblock_bytes)), (3, WBLOCK_BYTES));
        assert_eq!(store.get("key").as_deref(), Some(&b"value"[..]));
    }
}

#[test]
fn a_shadow_is_open_once() {
    let dir = scratch();
    let members = sound(dir.path());
    let store = Store::open(small().shadow_dir(dir.path())).expect("a sound store");
    let elsewhere = scratch();
    let linked = elsewhere.path().join("linked");
    symlink(dir.path(), &linked).expect("a link");
    let hard = elsewhere.path().join("hard");
    fs::create_dir(&hard).expect("a directory");
    for member in &members {
        fs::hard_link(member, hard.join(member.file_name().expect("a name"))).expect("a link");
    }
    for path in [dir.path(), &linked, &hard] {
        let error = Store::open(small().shadow_dir(path)).expect_err("it is open");
        assert!(matches!(error, Error::Locked { .. }), "{error}");
        assert!(error.is_retryable());
        says(&error, &[text(path)]);
    }
    let bound = elsewhere.path().join("bound");
    fs::create_dir(&bound).expect("a directory");
    let mount = Command::new("mount").arg("--bind").args([dir.path(), &bound]).output();
    let is_bound = mount.is_ok_and(|output| output.status.success());
    let _bound = is_bound.then(|| Mount(bound.clone()));
    if is_bound {
        let error = Store::open(small().shadow_dir(&bound)).expect_err("it is open");
        assert!(matches!(error, Error::Locked { .. }), "{error}");
    } else {
        skip("only root can make a bind mount");
    }
    // Another process, by each of the names.
    for path in [dir.path(), &linked, &hard, &bound].into_iter().take(3 + usize::from(is_bound)) {
        let said = run(&mut child::command(&[], "child_entry", "open", text(path)));
        assert!(said.contains("@Locked"), "{}: {said}", path.display());
    }
    store.put("still", "open").expect("the refused ones did no harm");
    let clone = store.clone();
    store.close().expect("a sound disk");
    assert!(matches!(clone.put("late", ""), Err(Error::Closed)));
    assert!(matches!(clone.delete("late"), Err(Error::Closed)));
    assert!(matches!(clone.update("late", |_| None), Err(Error::Closed)));
    assert!(matches!(clone.flush(), Err(Error::Closed)));
    assert!(matches!(clone.clear(), Err(Error::Closed)));
    assert!(clone.get("key").is_none() && clone.scan().next().is_none());
    assert!(matches!(clone.close(), Err(Error::Closed)));
    let again = Store::open(small().shadow_dir(&hard)).expect("it is closed");
    assert_eq!(again.len(), 2);
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("a child");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    said
}

/// The children's parts: each opens a store under some limit and says how that went.
#[test]
fn child_entry() {
    let Some((part, argument)) = child::part() else { return };
    let dir = Path::new(&argument);
    let config = match part.as_str() {
        "open" => small().shadow_dir(dir),
        "unwritable" => {
            become_nobody();
            small().shadow_dir(dir.join("shadow"))
        }
        "memlock" => {
            limit(libc::RLIMIT_MEMLOCK, 0);
            become_nobody();
            small().shadow_dir(dir.join("shadow")).lock_memory(true)
        }
        "no ring" => {
            refuse_rings();
            small().shadow_dir(dir)
        }
        "address space" => return address_space(dir),
        other => panic!("no part {other}"),
    };
    match Store::open(config) {
        Ok(store) => {
            store.put("child", "was here").expect("there is room");
            store.flush().expect("a sound disk");
            let refused = store.stats().ring_refused;
            child::say(&format!("Open {} {refused:?}", store.len()));
        }
        Err(error) => child::say(&format!("{error:?} {error}")),
    }
}

fn is_root() -> bool {
    // SAFETY: takes nothing, changes nothing.
    unsafe { libc::geteuid() == 0 }
}

fn become_nobody() {
    // SAFETY: changes this process's user, which is all that it is for.
    let done = unsafe { libc::setuid(NOBODY) };
    assert_eq!(done, 0);
}

fn limit(what: libc::__rlimit_resource_t, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: `limit` is readable and of the type that is asked for.
    let done = unsafe { libc::setrlimit(what, &raw const limit) };
    assert_eq!(done, 0);
}

/// From here on the system refuses this process every ring, as a container's profile does.
fn refuse_rings() {
    let rule = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let load = 0x20; // BPF_LD | BPF_W | BPF_ABS
    let is = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    let end = 0x06; // BPF_RET | BPF_K
    let number = u32::try_from(libc::SYS_io_uring_setup).expect("small");
    let refused = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EPERM).expect("small");
    let mut rules = [
        rule(load, 0, 0, 0),
        rule(is, 0, 1, number),
        rule(end, 0, 0, refused),
        rule(end, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: rules.as_mut_ptr() };
    // SAFETY: takes numbers; the process gains no rights by execution from here on.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(done, 0);
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: `program` names four rules, all of which outlive the call.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

#[test]
fn without_a_ring_the_fall_back_works_and_is_named() {
    let dir = scratch();
    sound(dir.path());
    let said = run(&mut child::command(&[], "child_entry", "no ring", text(dir.path())));
    assert!(said.contains("@Open 2 Some("), "{said}");
    let harness = Harness { prefer: Prefer::Blocking, ..Harness::default() };
    let store = harness.open(small().shadow_dir(dir.path())).expect("a sound store");
    assert_eq!(store.len(), 2);
    assert_eq!(store.stats().ring_refused, None, "it was not asked for");
}

#[test]
fn who_may_not_write_or_lock_is_told() {
    if !is_root() {
        skip("only root can become another user: unwritable directory, memory lock");
        return;
    }
    let dir = scratch();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let said = run(&mut child::command(&[], "child_entry", "unwritable", text(dir.path())));
    assert!(said.contains("@Io") && said.contains("PermissionDenied"), "{said}");
    assert!(tree(dir.path()).is_empty(), "nothing is left behind");

    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    let said = run(&mut child::command(&[], "child_entry", "memlock", text(dir.path())));
    assert!(said.contains("@Config") && said.contains("RLIMIT_MEMLOCK"), "{said}");
    assert!(tree(dir.path()).is_empty(), "nothing is left behind: {:?}", tree(dir.path()).keys());
}

/// Limits the address space, a little less each time, and opens: it works, or the error is typed.
fn address_space(dir: &Path) {
    let used = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = used.split(' ').next().and_then(|word| word.parse().ok()).expect("pages");
    let argument = std::env::var("BRINDLE_TEST_MEBIBYTES").expect("how much more");
    let more: u64 = argument.parse().expect("a number");
    limit(libc::RLIMIT_AS, pages * 4096 + (more << 20));
    match Store::open(small().data_size(64 << 20).shadow_dir(dir)) {
        Ok(store) => child::say(&format!("Open {}", store.len())),
        Err(error) => child::say(&format!("{error:?} {error}")),
    }
}

#[test]
fn too_little_address_space_is_told_by_an_error() {
    let dir = scratch();
    let shadow = dir.path().join("shadow");
    let mut refused = 0;
    // In steps of 8 MiB, and finer around the size of the region.
    let steps = (0..=30).map(|step| step * 8).chain([1, 63, 65, 66, 67, 68, 70, 76, 84, 100, 400]);
    for mebibytes in steps {
        let mut command = child::command(&[], "child_entry", "address space", text(&shadow));
        command.env("BRINDLE_TEST_MEBIBYTES", mebibytes.to_string());
        let said = run(&mut command);
        if said.contains("@Open") {
            fs::remove_dir_all(&shadow).expect("it was created");
            continue;
        }
        let is_typed = said.contains("@Config { key: \"data_size\"")
            || said.contains("@Config { key: \"expected_records\"")
            || said.contains("@Io")
            || said.contains("@OutOfSpace");
        assert!(is_typed, "{mebibytes} MiB: {said}");
        assert!(tree(dir.path()).is_empty(), "{mebibytes} MiB: nothing is left behind");
        refused += 1;
    }
    assert!(refused >= 3, "{refused} refused");

    // A shadow that is there: it opens with what it holds, or is as it was.
    let store = Store::open(small().data_size(64 << 20).shadow_dir(&shadow)).expect("a new store");
    store.put("key", "value").expect("there is room");
    store.close().expect("a sound disk");
    for mebibytes in (0..=15).map(|step| step * 16) {
        let mut command = child::command(&[], "child_entry", "address space", text(&shadow));
        command.env("BRINDLE_TEST_MEBIBYTES", mebibytes.to_string());
        let before = tree(dir.path());
        let said = run(&mut command);
        let is_open = said.contains("@Open 1");
        assert!(is_open || tree(dir.path()) == before, "{mebibytes} MiB: {said}");
    }
    let store = Store::open(small().data_size(64 << 20).shadow_dir(&shadow)).expect("as it was");
    assert_eq!(store.get("key").as_deref(), Some(&b"value"[..]));
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left_behind() {
    if !is_root() {
        skip("only root can mount a small disk");
        return;
    }
    let dir = scratch();
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).expect("a directory");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=400k", "tmpfs", text(&disk)])
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        skip("a small disk cannot be mounted here");
        return;
    }
    let _mount = Mount(disk.clone());
    let shadow = disk.join("new").join("shadow");
    let error = refuse(&disk, small().shadow_dir(&shadow), &["allocate", text(&shadow)]);
    let Error::Io { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    let devices = [disk.join("a"), disk.join("b")];
    for device in &devices {
        fs::write(device, "").expect("an empty file fits");
    }
    let error = refuse(&disk, small().shadow_devices(&devices), &["allocate"]);
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        // What cannot be unmounted now goes with the machine.
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
