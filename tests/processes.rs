//! Processes: forks, programs started by the host, idling, and opening again and again.
//!
//! Each case runs in a child process of its own, the test binary run again: a fork of a process
//! with other tests' threads in it could find any lock held.
#![expect(clippy::expect_used, reason = "a failed step of a test is the test's failure")]

#[path = "common_files/child.rs"]
mod child;

use brindle::testing::{Harness, Prefer};
use brindle::{Config, Error, Store};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

fn config(dir: &Path) -> Config {
    Config::new()
        .data_size(1 << 20)
        .wblock_size(64 << 10)
        .stripes(2)
        .prefault(false)
        .shadow_dir(dir.join("shadow"))
}

/// Runs the part `part` in a process of its own, and returns what it said.
fn run(part: &str) -> String {
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path().to_str().expect("a plain path");
    let output = child::command(&[], "child_entry", part, dir).output().expect("a child");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{part}: {said}\n{complained}");
    said
}

/// The children's parts.
#[test]
fn child_entry() {
    let Some((part, dir)) = child::part() else { return };
    let dir = Path::new(&dir);
    match part.as_str() {
        "fork" => fork_with(&Store::open(config(dir)).expect("a new store")),
        "fork without a shadow" => {
            let config = Config::new().data_size(1 << 20).wblock_size(64 << 10);
            fork_with(&Store::open(config).expect("memory"));
        }
        "lock" => a_forked_child_that_lives_on(dir),
        "lock of a closing child" => a_forked_child_that_drops_its_handle(dir),
        "store of a forked child" => a_forked_child_with_a_store(dir),
        "exec" => exec_with(dir),
        "lock of a program" => a_program_that_lives_on(dir),
        "idle" => idle_with(dir),
        other => panic!("no part {other}"),
    }
}

/// Forks; the child runs `work` and ends with 0 if that returns true.
fn fork(work: impl FnOnce() -> bool) -> libc::pid_t {
    // SAFETY: the child does nothing but what the store promises to bear there, and ends without
    // running the destructors of the parent's state.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no fork");
    if child == 0 {
        let is_good = catch_unwind(AssertUnwindSafe(work)).unwrap_or(false);
        // SAFETY: ends the process; nothing runs after it.
        unsafe { libc::_exit(i32::from(!is_good)) };
    }
    child
}

/// The exit code of a forked child.
fn wait(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is writable.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    assert!(libc::WIFEXITED(status), "ended by a signal: {status:#x}");
    libc::WEXITSTATUS(status)
}

/// The text of the panic that `work` ends in.
fn panic_of(work: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(work)).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
}

fn fork_with(store: &Store) {
    store.put("before", "the fork").expect("there is room");
    let child = fork(|| {
        let message = Error::Forked.to_string();
        let is_forked = |result: Result<(), Error>| matches!(result, Err(Error::Forked));
        let reads: [Box<dyn Fn()>; 6] = [
            Box::new(|| drop(store.get("before"))),
            Box::new(|| assert!(store.contains_key("before"))),
            Box::new(|| drop(store.pin().get("before"))),
            Box::new(|| drop(store.get_many(&["before"]))),
            Box::new(|| assert!(store.scan().next().is_some())),
            Box::new(|| store.prefetch("before")),
        ];
        is_forked(store.put("child", "writes").map(|_| ()))
            && is_forked(store.put_many([("child", "writes")]).map(|_| ()).map_err(inner))
            && is_forked(store.delete("before").map(|_| ()))
            && is_forked(store.flush())
            && is_forked(store.clear())
            && is_forked(store.clone().close())
            && reads.iter().all(|read| panic_of(read).as_deref() == Some(&message))
    });
    assert_eq!(wait(child), 0, "a forked child is told, and does no harm");
    store.put("after", "the fork").expect("the parent goes on");
    store.flush().expect("the parent goes on");
    assert_eq!(store.get("before").as_deref(), Some(&b"the fork"[..]));
    assert_eq!(store.len(), 2);
    store.clone().close().expect("the parent closes");
}

fn inner(error: Error) -> Error {
    if let Error::Batch { source, .. } = error { *source } else { error }
}

/// The parent closes while the child lives on: the shadow is free.
fn a_forked_child_that_lives_on(dir: &Path) {
    let store = Store::open(config(dir)).expect("a new store");
    store.put("key", "value").expect("there is room");
    let child = fork(|| {
        thread::sleep(Duration::from_secs(3));
        true
    });
    store.close().expect("a sound disk");
    let store = Store::open(config(dir)).expect("the child keeps no lock");
    assert_eq!(store.get("key").as_deref(), Some(&b"value"[..]));
    drop(store);
    // SAFETY: a process that this one has started and not waited for.
    let killed = unsafe { libc::kill(child, libc::SIGKILL) };
    assert_eq!(killed, 0);
    let mut status = 0;
    // SAFETY: `status` is writable.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
}

/// The child drops its handle, and ends: the parent still has its lock.
fn a_forked_child_that_drops_its_handle(dir: &Path) {
    let mut store = Some(Store::open(config(dir)).expect("a new store"));
    let child = fork(|| {
        drop(store.take());
        true
    });
    assert_eq!(wait(child), 0);
    let store = store.expect("the parent's handle");
    let other = child::command(&[], "opener", "open", dir.to_str().expect("a plain path")).output();
    let said = String::from_utf8_lossy(&other.expect("a child").stdout).into_owned();
    assert!(said.contains("@locked"), "{said}");
    store.put("key", "value").expect("the parent goes on");
    store.close().expect("the parent closes");
}

/// The parent holds pins, in threads that the child does not have; the child opens a store of its
/// own, and fills it many times over.
fn a_forked_child_with_a_store(dir: &Path) {
    let store = Store::open(config(dir)).expect("a new store");
    store.put("key", "value").expect("there is room");
    let (pinned, is_pinned) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let mut holders = Vec::new();
        for _ in 0..3 {
            let (store, pinned) = (store.clone(), pinned.clone());
            let (done, is_done) = std::sync::mpsc::channel::<()>();
            holders.push(done);
            scope.spawn(move || {
                let held = store.get("key");
                pinned.send(()).expect("somebody waits");
                let _ = is_done.recv();
                drop(held);
            });
        }
        (0..3).for_each(|_| is_pinned.recv().expect("three threads"));
        let own = dir.join("own");
        let child = fork(move || {
            let own = Store::open(config(&own)).expect("a store of its own");
            for turn in 0..4_000_u32 {
                own.put(format!("key-{}", turn % 50), [7; 3_000]).expect("space comes back");
            }
            own.close().is_ok()
        });
        assert_eq!(wait(child), 0, "the child's store goes on as any other");
        drop(holders);
    });
    store.put("after", "the fork").expect("the parent goes on");
    store.close().expect("the parent closes");
}

/// Another process, which tries to open the store.
#[test]
fn opener() {
    let Some((part, dir)) = child::part() else { return };
    assert_eq!(part, "open");
    match Store::open(config(Path::new(&dir))) {
        Ok(_) => child::say("opened"),
        Err(Error::Locked { .. }) => child::say("locked"),
        Err(other) => child::say(&other.to_string()),
    }
}

/// What a program that the host starts inherits: nothing of the store.
fn exec_with(dir: &Path) {
    for prefer in [Prefer::Ring, Prefer::Blocking] {
        let store = Harness { prefer, ..Harness::default() }.open(config(dir)).expect("a store");
        store.put("key", "value").expect("there is room");
        store.flush().expect("a sound disk");
        let output = Command::new("ls").args(["-l", "/proc/self/fd"]).output().expect("ls");
        let open = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(open.contains("pipe"), "its own are shown: {open}");
        for name in ["shadow", "io_uring", "eventfd"] {
            assert!(!open.contains(name), "inherited a descriptor: {open}");
        }
        store.close().expect("a sound disk");
    }
}

/// A program that the host has started outlives the store: the shadow is free, for anybody.
fn a_program_that_lives_on(dir: &Path) {
    for prefer in [Prefer::Ring, Prefer::Blocking] {
        let store = Harness { prefer, ..Harness::default() }.open(config(dir)).expect("a store");
        store.put("key", "value").expect("there is room");
        let mut program = Command::new("sleep").arg("60").spawn().expect("sleep");
        store.close().expect("a sound disk");
        let dir = dir.to_str().expect("a plain path");
        let other = child::command(&[], "opener", "open", dir).output().expect("a child");
        let said = String::from_utf8_lossy(&other.stdout).into_owned();
        program.kill().expect("it is ours");
        program.wait().expect("it is ours");
        assert!(said.contains("@opened"), "{prefer:?}: {said}");
    }
}

/// CPU time of this process, all threads together.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable.
    let got = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(got, 0);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below 10^9"))
}

fn idle_with(dir: &Path) {
    for prefer in [Prefer::Ring, Prefer::Blocking] {
        let store = Harness { prefer, ..Harness::default() }.open(config(dir)).expect("a store");
        store.put("key", "value").expect("there is room");
        store.flush().expect("a sound disk");
        let before = cpu_time();
        thread::sleep(Duration::from_secs(1));
        let spent = cpu_time().saturating_sub(before);
        assert!(
            spent < Duration::from_millis(50),
            "{prefer:?}: {spent:?} of CPU in an idle second"
        );
        child::say(&format!("{prefer:?}: {spent:?}"));
        store.close().expect("a sound disk");
    }
}

#[test]
fn a_forked_child_is_told_and_the_parent_goes_on() {
    run("fork");
    run("fork without a shadow");
}

#[test]
fn a_forked_child_keeps_no_lock_and_takes_none() {
    run("lock");
    run("lock of a closing child");
}

#[test]
fn a_forked_child_may_have_a_store_of_its_own() {
    run("store of a forked child");
}

#[test]
fn a_program_started_by_the_host_inherits_nothing() {
    run("exec");
    run("lock of a program");
}

#[test]
fn an_idle_store_costs_next_to_nothing() {
    run("idle");
}

#[test]
fn a_store_opens_and_closes_again_and_again() {
    let scratch = tempfile::tempdir().expect("a directory");
    for prefer in [Prefer::Ring, Prefer::Blocking] {
        let dir = scratch.path().join(format!("{prefer:?}"));
        let mut opens = 0_u32;
        // Each run takes a wblock of the 16, and reuse is not promised here.
        for turn in 0..25 {
            if turn % 5 == 0 {
                opens = 0;
            }
            let dir = dir.join(format!("{}", turn / 5));
            let store = Harness { prefer, ..Harness::default() }.open(config(&dir));
            let store = store.unwrap_or_else(|error| panic!("open {turn}: {error}"));
            let load = store.stats().load;
            assert_eq!((load.records, load.was_clean), (opens.into(), true), "open {turn}");
            for key in 0..opens {
                assert_eq!(store.get(key.to_string()).as_deref(), Some(&key.to_le_bytes()[..]));
            }
            store.put(opens.to_string(), opens.to_le_bytes()).expect("there is room");
            opens += 1;
            // By close, and by dropping the last handle: as durable.
            if turn % 2 == 0 {
                store.close().expect("a sound disk");
            }
        }
    }
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux").count();
    assert!(threads < 40, "{threads} threads: some were left behind");
}
