//! The process around the store: closures that panic, threads that die, signals, little memory,
//! clocks that are wrong, and a user who may lock none and restarts at once.
//!
//! Where a case changes its whole process, it runs in a child of its own. Forks, programs that the
//! host starts, and locks are the part of `processes`.
#![expect(clippy::expect_used, reason = "a failed step of a test is the test's failure")]

#[path = "common_files/child.rs"]
mod child;
#[path = "common_files/skip.rs"]
mod skip;

use brindle::testing::{Harness, Prefer};
use brindle::{Config, Error, PutOptions, Store};
use std::cell::RefCell;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const WBLOCK_BYTES: u64 = 64 << 10;
const NOBODY: libc::uid_t = 65_534;
const BOTH: [Prefer; 2] = [Prefer::Ring, Prefer::Blocking];
/// Restarts for each limit of locked memory.
const LIVES: usize = 12;
/// What a planned panic says.
const PLANNED: &str = "as planned";

fn small(dir: &Path) -> Config {
    Config::new()
        .data_size(2 << 20)
        .wblock_size(WBLOCK_BYTES)
        .stripes(2)
        .prefault(false)
        .shadow_dir(dir.join("shadow"))
}

fn open(config: Config, prefer: Prefer) -> Store {
    Harness { prefer, ..Harness::default() }.open(config).expect("a shadow that can be opened")
}

/// Runs the part `part` in a process of its own, under `wrapper`. Returns what it said.
fn run_under(wrapper: &[&str], part: &str, dir: &Path) -> String {
    let mut command = child::command(wrapper, "child_entry", part, dir.to_str().expect("text"));
    // Of the faked clocks only that of the wall: a monotonic one takes no steps.
    let command = command.env("DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let output = command.output().expect("a child");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{part}: {}: {said}\n{complained}", output.status);
    said
}

fn run(part: &str) -> String {
    let scratch = tempfile::tempdir().expect("a directory");
    run_under(&[], part, scratch.path())
}

/// The children's parts.
#[test]
fn child_entry() {
    let Some((part, dir)) = child::part() else { return };
    let dir = Path::new(&dir);
    match part.as_str() {
        "forgotten pin" => forgotten_pin(dir),
        "dying thread" => work_in_destructors(dir),
        "signals" => signals(dir),
        "little memory" => little_memory(dir),
        "level memory" => level_memory(dir),
        "put for an hour" => put_for_an_hour(dir),
        "put again" => put_again(dir),
        "look" => look(dir),
        "steps" => steps(dir),
        other => match other.strip_prefix("restart ") {
            Some(limit) => restart(dir, limit.parse().expect("a limit")),
            None => panic!("no part {other}"),
        },
    }
}

fn panics(work: impl FnOnce()) {
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("it panics");
    let text = panic.downcast_ref::<String>().map(String::as_str);
    assert_eq!(text.or(panic.downcast_ref::<&str>().copied()), Some(PLANNED));
}

/// Panics in one of the closures that the store calls, or adds to the value and to `count`.
fn meet_a_panic(store: &Store, thread: u32, turn: u32, count: &AtomicU64) {
    match (turn + thread) % 5 {
        0 => panics(|| drop(store.update("key", |_| panic!("{}", PLANNED)))),
        1 => panics(|| store.get_with("key", |_| panic!("{}", PLANNED)).unwrap_or_default()),
        2 => {
            let pair = |number| {
                assert!(number < 40, "{}", PLANNED);
                (format!("{thread}-{number}"), "value")
            };
            panics(|| drop(store.put_many((0..).map(pair))));
        }
        3 => panics(|| store.scan().for_each(|record| assert!(record.is_empty(), "{}", PLANNED))),
        _ => {
            let add = |old: Option<&[u8]>| Some([old.expect("it is there"), b"+"].concat());
            store.update("key", add).expect("there is room");
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_panic_in_a_callers_code_leaves_the_store_usable() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(small(dir.path()), Prefer::Ring);
    store.put("key", "value").expect("there is room");
    let count = AtomicU64::new(0);
    // Four threads at one key, so that closures run more than once, and panic in any state.
    thread::scope(|scope| {
        for thread in 0..4 {
            let (store, count) = (&store, &count);
            scope.spawn(move || (0..300).for_each(|turn| meet_a_panic(store, thread, turn, count)));
        }
    });
    let expected =
        format!("value{}", "+".repeat(usize::try_from(count.into_inner()).expect("few")));
    assert_eq!(store.get("key").as_deref(), Some(expected.as_bytes()));
    // Of a batch the groups of 32 before its panic are there.
    assert_eq!(store.len(), 1 + 4 * 32);
    let is_free = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(50));
        store.stats().oldest_pin_ms == 0
    });
    assert!(is_free, "no pin was left behind");
    store.flush().expect("a sound disk");
    store.close().expect("a sound disk");
    assert_eq!(open(small(dir.path()), Prefer::Blocking).len(), 1 + 4 * 32);
}

#[test]
fn a_panic_in_the_callback_of_open_leaves_the_shadow_free() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(small(dir.path()), Prefer::Ring);
    store.put("key", "value").expect("there is room");
    store.close().expect("a sound disk");
    for prefer in BOTH {
        let config = small(dir.path()).on_progress(|_| panic!("{}", PLANNED));
        let opened = catch_unwind(AssertUnwindSafe(|| {
            Harness { prefer, ..Harness::default() }.open(config)
        }));
        assert!(!matches!(opened, Ok(Ok(_))), "somebody has to be told");
        let store = open(small(dir.path()), prefer);
        assert_eq!(store.get("key").as_deref(), Some(&b"value"[..]));
        store.close().expect("a sound disk");
    }
}

/// Puts over and over again a few keys, several times what the store holds.
fn churn(store: &Store, rounds: u32) -> Result<(), Error> {
    for round in 0..rounds {
        for key in 0..40_u32 {
            store.put(format!("churn-{key}"), vec![round.to_le_bytes()[0]; 4000])?;
        }
    }
    Ok(())
}

#[test]
fn a_thread_that_dies_with_a_pin_or_binding_takes_nothing_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(small(dir.path()), Prefer::Ring);
    store.put("key", "value").expect("there is room");
    for turn in 0..20 {
        let died = thread::scope(|scope| {
            let holder = scope.spawn(|| {
                let _binding = store.bind_thread(turn % 2).expect("it exists");
                let pin = store.pin();
                let _record = pin.get("key").expect("it is there");
                store.put("key", "value").expect("there is room");
                panic!("{}", PLANNED);
            });
            holder.join().is_err()
        });
        assert!(died);
    }
    churn(&store, 60).expect("what nobody pins comes back");
    assert_eq!(store.get("key").as_deref(), Some(&b"value"[..]));
    store.close().expect("a sound disk");
}

#[expect(clippy::mem_forget, reason = "the case under test")]
fn forget<T>(value: T) {
    std::mem::forget(value);
}

/// A pin that is never dropped: its thread is gone, and nobody can let go of it any more.
fn forgotten_pin(dir: &Path) {
    let store = open(small(dir), Prefer::Ring);
    store.put("key", "value").expect("there is room");
    thread::scope(|scope| {
        scope.spawn(|| {
            let binding = store.bind_thread(0).expect("it exists");
            let pin = store.pin();
            assert!(pin.get("key").is_some());
            forget(pin);
            forget(binding);
        });
    });
    // It costs what it may see: in the end space, never a hang or a crash.
    match churn(&store, 60) {
        Ok(()) | Err(Error::OutOfSpace | Error::StopWrites { .. } | Error::Overloaded) => {}
        Err(other) => panic!("{other}"),
    }
    assert_eq!(store.get("key").as_deref(), Some(&b"value"[..]));
    let is_deleted = match store.delete("key") {
        Ok(was_there) => was_there,
        // What is kept back for deletes may be in use for records that are moved.
        Err(Error::OutOfSpace) => false,
        Err(other) => panic!("{other}"),
    };
    store.flush().expect("a sound disk");
    store.close().expect("a sound disk");
    let store = open(small(dir), Prefer::Ring);
    assert_eq!(store.get("key").is_none(), is_deleted);
    store.close().expect("a sound disk");
}

#[test]
fn a_pin_that_is_never_dropped_costs_space_only() {
    run("forgotten pin");
}

/// Uses the store at the very end of its thread, when thread-local values are taken down.
struct AtExit(Store);

impl Drop for AtExit {
    fn drop(&mut self) {
        assert!(self.0.get("key").is_some());
        self.0.put("last words", "value").expect("there is room");
    }
}

thread_local! {
    static LAST: RefCell<Option<AtExit>> = const { RefCell::new(None) };
}

/// The last handle of a store goes with a thread-local value, and closes it there.
fn work_in_destructors(dir: &Path) {
    for prefer in BOTH {
        let store = open(small(dir), prefer);
        store.put("key", "value").expect("there is room");
        let last = thread::spawn(move || {
            // Before and after the engine's own thread-local values.
            LAST.set(Some(AtExit(store.clone())));
            assert!(store.get("key").is_some());
            drop(store);
        });
        last.join().expect("its destructors do not panic");
        let store = open(small(dir), prefer);
        assert!(store.stats().load.was_clean, "the last handle closes in order");
        assert!(store.get("last words").is_some());
        store.close().expect("a sound disk");
    }
}

#[test]
fn the_last_handle_may_go_with_a_thread_local_value() {
    run("dying thread");
}

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// A timer that interrupts whatever waits, 2,000 times a second.
fn interrupt() {
    // SAFETY: all zero is a value of this plain structure: no flags, so that calls are not
    // restarted, and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler does nothing but count, which any code bears.
    let done = unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) };
    assert_eq!(done, 0);
    let often = libc::timeval { tv_sec: 0, tv_usec: 500 };
    let timer = libc::itimerval { it_interval: often, it_value: often };
    // SAFETY: `timer` is readable, and the old one is not asked for.
    let done =
        unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    assert_eq!(done, 0);
}

/// Puts 25 keys of the thread's own, with durable ones and flushes among them.
fn put_through(store: &Store, thread: u32) {
    for turn in 0..100_u32 {
        let key = (thread * 25 + turn % 25).to_le_bytes();
        let durable = PutOptions::new().durable(turn % 10 == 0);
        store.put_with(key, vec![7; 2000], &durable).expect("a sound disk");
        if turn % 20 == 3 {
            store.flush().expect("a sound disk");
        }
    }
}

fn signals(dir: &Path) {
    interrupt();
    for prefer in BOTH {
        let dir = dir.join(format!("{prefer:?}"));
        for run in 0..3_u32 {
            let store = open(small(&dir), prefer);
            assert_eq!(store.len(), if run == 0 { 0 } else { 100 });
            thread::scope(|scope| {
                let store = &store;
                (0..4).for_each(|thread| drop(scope.spawn(move || put_through(store, thread))));
            });
            store.close().expect("a sound disk");
        }
    }
    let signals = SIGNALS.load(Ordering::Relaxed);
    child::say(&format!("{signals} signals"));
    assert!(signals > 100, "{signals} signals");
}

#[test]
fn a_storm_of_signals_disturbs_nothing() {
    run("signals");
}

/// A number of kibibytes that the system knows of this process.
fn status_kib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(name)).expect("a known line");
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number")
}

fn limit(what: libc::__rlimit_resource_t, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: `limit` is readable and of the type that is asked for.
    let done = unsafe { libc::setrlimit(what, &raw const limit) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// A cache at its limit that gets no more memory: the index would grow, and cannot.
fn little_memory(dir: &Path) {
    let mut outcomes = Vec::new();
    for mebibytes in [0_u64, 4, 64] {
        let config = small(&dir.join(mebibytes.to_string())).data_size(16 << 20);
        let config = config.evict_used_pct(60).overload_wait(Duration::from_millis(20));
        let store = open(config, Prefer::Ring);
        store.put("first", "value").expect("there is room");
        store.flush().expect("a sound disk");
        // A thread that is only just starting needs memory for its own sake.
        thread::sleep(Duration::from_millis(200));
        let before = status_kib("VmSize:") << 10;
        // The soft limit alone, so that it can be raised again.
        let less = libc::rlimit { rlim_cur: before + (mebibytes << 20), rlim_max: u64::MAX };
        // SAFETY: `less` is readable and of the type that is asked for.
        let done = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const less) };
        assert_eq!(done, 0);
        let mut refused = 0_u32;
        for number in 0..60_000_u32 {
            match store.put(number.to_le_bytes(), b"") {
                Ok(_) => {}
                Err(Error::OutOfSpace | Error::StopWrites { .. } | Error::Overloaded) => {
                    refused += 1;
                    if refused > 100 {
                        break;
                    }
                }
                Err(other) => panic!("{other}"),
            }
        }
        let seen = store.scan().count();
        let more = libc::rlimit { rlim_cur: u64::MAX, rlim_max: u64::MAX };
        // SAFETY: as above.
        let done = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const more) };
        assert_eq!(done, 0);
        outcomes.push((mebibytes, refused, seen));
        store.put("last", "value").expect("there is memory again");
        assert!(store.get("last").is_some());
        store.close().expect("a sound disk");
    }
    child::say(&format!("{outcomes:?}"));
}

#[test]
fn without_more_memory_puts_are_refused_and_the_store_lives_on() {
    let said = run("little memory");
    // Nobody may listen.
    let _ = std::io::stderr().write_all(said.as_bytes());
}

/// The memory of a cache at its limit stays where it is.
fn level_memory(dir: &Path) {
    let store = open(small(dir).data_size(16 << 20).evict_used_pct(60), Prefer::Ring);
    let fill = |rounds: std::ops::Range<u32>| {
        for number in rounds.start * 10_000..rounds.end * 10_000 {
            // On a machine that is busy, eviction may need longer than a put waits.
            while let Err(error) = store.put(number.to_le_bytes(), [7; 500]) {
                assert!(matches!(error, Error::StopWrites { .. }), "{error}");
            }
        }
        status_kib("VmRSS:")
    };
    let level = fill(0..4);
    let later = fill(4..12);
    child::say(&format!("{level} KiB, later {later} KiB"));
    assert!(later < level + (8 << 10), "{level} KiB, later {later} KiB");
}

#[test]
fn the_memory_of_a_cache_stays_level() {
    run("level memory");
}

fn put_for_an_hour(dir: &Path) {
    let store = open(small(dir), Prefer::Ring);
    let hour = PutOptions::new().ttl(Duration::from_secs(3600));
    store.put_with("an hour", "value", &hour).expect("there is room");
    store.put("for ever", "first").expect("there is room");
    store.put("deleted", "value").expect("there is room");
    store.close().expect("a sound disk");
}

fn put_again(dir: &Path) {
    let store = open(small(dir), Prefer::Ring);
    store.put("for ever", "second").expect("there is room");
    assert!(store.delete("deleted").expect("there is room"));
    assert_eq!(store.get("for ever").as_deref(), Some(&b"second"[..]));
    store.close().expect("a sound disk");
}

fn look(dir: &Path) {
    let store = open(small(dir), Prefer::Ring);
    for key in ["an hour", "for ever", "deleted"] {
        let value = store.get(key).map(|record| String::from_utf8_lossy(&record).into_owned());
        child::say(&format!("{key}: {value:?}"));
    }
    store.close().expect("a sound disk");
}

fn has_faketime() -> bool {
    let year = Command::new("faketime").args(["2001-01-01 12:00:00", "date", "+%Y"]).output();
    let works = year.is_ok_and(|output| output.stdout.starts_with(b"2001"));
    if !works {
        skip::skip("no clock is turned: there is no faketime here");
    }
    works
}

#[test]
fn a_clock_that_is_wrong_between_runs_revives_nothing_and_loses_no_write() {
    if !has_faketime() {
        return;
    }
    let says = |dir: &Path, offset: &str| run_under(&["faketime", "-f", offset], "look", dir);
    for wrong in ["-10y", "-2h", "+0s", "+30m"] {
        let scratch = tempfile::tempdir().expect("a directory");
        let dir = scratch.path();
        run_under(&[], "put for an hour", dir);
        assert!(says(dir, "+30m").contains("an hour: Some"), "it has half an hour left");
        assert!(says(dir, "+2h").contains("an hour: None"), "it has had its hour");
        assert!(says(dir, wrong).contains("an hour: None"), "{wrong}: what is dead stays dead");
        run_under(&["faketime", "-f", wrong], "put again", dir);
        for offset in [wrong, "+0s", "+1d", "-5y"] {
            let said = says(dir, offset);
            assert!(said.contains("for ever: Some(\"second\")"), "{wrong}, {offset}: {said}");
            assert!(said.contains("deleted: None"), "{wrong}, {offset}: {said}");
            assert!(said.contains("an hour: None"), "{wrong}, {offset}: {said}");
        }
    }
}

/// Turns the wall clock of the run, which reads it from a file.
fn steps(dir: &Path) {
    let turn = |offset: &str| {
        let file = std::env::var("FAKETIME_TIMESTAMP_FILE").expect("the clock's file");
        fs::write(file, offset).expect("a file");
    };
    let year = || {
        let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
        since.as_secs() / (365 * 24 * 3600)
    };
    let real = year();
    let store = open(small(dir), Prefer::Ring);
    let hour = PutOptions::new().ttl(Duration::from_secs(3600));
    store.put_with("an hour", "value", &hour).expect("there is room");
    let mut versions = vec![store.put("key", "first").expect("there is room")];
    for offset in ["+20y", "-20y", "+1d", "-1d", "+0s"] {
        turn(offset);
        let stepped = year();
        assert!(offset.ends_with('y') == (stepped != real), "the clock was not turned: {offset}");
        assert!(store.get("an hour").is_some(), "{offset}: no step kills");
        versions.push(store.put("key", offset).expect("there is room"));
        assert_eq!(store.get("key").as_deref(), Some(offset.as_bytes()));
        store.flush().expect("a sound disk");
    }
    assert!(versions.is_sorted(), "versions only grow: {versions:?}");
    store.close().expect("a sound disk");
    let store = open(small(dir), Prefer::Ring);
    assert_eq!(store.get("key").as_deref(), Some(&b"+0s"[..]));
    assert!(store.get("an hour").is_some());
    store.close().expect("a sound disk");
    child::say("stepped");
}

#[test]
fn steps_of_the_clock_within_a_run_go_unnoticed() {
    if !has_faketime() {
        return;
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let clock = scratch.path().join("clock");
    fs::write(&clock, "+0s").expect("a file");
    let clock = clock.to_str().expect("text");
    let variables = [
        format!("FAKETIME_TIMESTAMP_FILE={clock}"),
        "FAKETIME_NO_CACHE=1".into(),
        "FAKETIME_DONT_RESET=1".into(),
    ];
    let wrapper: Vec<&str> = ["faketime", "-f", "+0s", "env", "-u", "FAKETIME"]
        .into_iter()
        .chain(variables.iter().map(String::as_str))
        .collect();
    let said = run_under(&wrapper, "steps", scratch.path());
    assert!(said.contains("@stepped"), "{said}");
}

/// One life of a service: opens what the last one left, adds a record, and ends somehow.
fn restart(dir: &Path, memlock: u64) {
    limit(libc::RLIMIT_MEMLOCK, memlock);
    // SAFETY: changes this process's user, which is all that it is for.
    let done = unsafe { libc::setuid(NOBODY) };
    assert_eq!(done, 0);
    let config = Config::new().shadow_dir(dir.join("shadow")).stripes(1).prefault(false);
    let config = config.data_size(64 << 20).wblock_size(8 << 20);
    let store = Store::open(config).expect("a store that was left");
    let life = store.len();
    assert_eq!(store.get("0").is_some(), life > 0);
    let durable = PutOptions::new().durable(true);
    store.put_with(life.to_string(), "value", &durable).expect("a sound disk");
    child::say(&format!("life {life}, refused {:?}", store.stats().ring_refused));
    if life.is_multiple_of(2) {
        store.close().expect("a sound disk");
    }
    if life.is_multiple_of(3) {
        let this = libc::pid_t::try_from(std::process::id()).expect("a small number");
        // SAFETY: a signal to this very process, which ends it.
        unsafe { libc::kill(this, libc::SIGKILL) };
    }
    // SAFETY: ends the process; nothing runs after it.
    unsafe { libc::_exit(0) };
}

#[test]
fn who_may_lock_no_memory_restarts_as_often_as_they_like() {
    // SAFETY: takes nothing, changes nothing.
    if unsafe { libc::geteuid() } != 0 {
        skip::skip("only root can become another user: restarts without memlock");
        return;
    }
    for memlock in [0_u64, 64 << 10, 8 << 20] {
        let scratch = tempfile::tempdir().expect("a directory");
        let everybody = fs::Permissions::from_mode(0o777);
        fs::set_permissions(scratch.path(), everybody).expect("it is ours");
        let place = scratch.path().to_str().expect("text");
        let mut without_ring = 0;
        for life in 0..LIVES {
            let part = format!("restart {memlock}");
            let output =
                child::command(&[], "child_entry", &part, place).output().expect("a child");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let complained = String::from_utf8_lossy(&output.stderr);
            let context = format!("{memlock}, life {life}: {said}\n{complained}");
            assert!(said.contains(&format!("@life {life},")), "{context}");
            without_ring += u32::from(!said.contains("refused None"));
        }
        // Nobody may listen.
        let told = format!("memlock {memlock}: {LIVES} lives, {without_ring} without a ring\n");
        let _ = std::io::stderr().write_all(told.as_bytes());
    }
}
