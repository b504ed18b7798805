//! No allocation and no system call on the path of get, put and delete (invariant 8).
//!
//! Allocations are counted by the thread, through an allocator of this test's own. System calls
//! are counted by `strace` over a child that marks where its loop begins and ends.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failed step of a test is the test's failure"
)]

#[path = "common_files/child.rs"]
mod child;
#[path = "common_files/skip.rs"]
mod skip;

use brindle::{Config, Store};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::process::Command;

/// Counts what each thread asks of the system's allocator.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // At the end of a thread there is no counter any more, and nobody who asks for it.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: passes every call on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above; `place` came from `System`.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread during `work`. (Frees are not counted: each 128th pin of a thread
/// frees what the epoch has ready, the upkeep thread's probes for instance: some ten a second.)
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// Keys that exist, keys that never do, and keys that are put anew.
const KEYS: usize = 500;

struct Keys {
    present: Vec<String>,
    missing: Vec<String>,
    fresh: Vec<String>,
}

impl Keys {
    fn new() -> Self {
        let named = |kind: &str| (0..KEYS).map(|key| format!("{kind}-{key}")).collect();
        Self { present: named("present"), missing: named("missing"), fresh: named("fresh") }
    }
}

/// Large enough that no wblock fills up and no segment of the index is split.
fn config() -> Config {
    Config::new()
        .data_size(64 << 20)
        .stripes(1)
        .expected_records(100_000)
        .prefault(false)
        .flush_max_ms(2)
}

type Operation = (&'static str, fn(&Store, &Keys));

/// The operations by name; each runs over all keys once.
fn operations() -> Vec<Operation> {
    vec![
        ("get, hit", |store, keys| {
            for key in &keys.present {
                assert!(black_box(store.get(key)).is_some());
            }
        }),
        ("get, miss", |store, keys| {
            for key in &keys.missing {
                assert!(black_box(store.get(key)).is_none());
            }
        }),
        ("get under a pin", |store, keys| {
            let pin = store.pin();
            for key in &keys.present {
                assert!(black_box(pin.get(key)).is_some());
            }
        }),
        ("contains_key", |store, keys| {
            for (present, missing) in keys.present.iter().zip(&keys.missing) {
                assert!(store.contains_key(present) && !store.contains_key(missing));
            }
        }),
        ("put over", |store, keys| {
            for key in &keys.present {
                store.put(key, [8; 100]).expect("there is room");
            }
        }),
        ("put anew", |store, keys| {
            for key in &keys.fresh {
                store.put(key, [9; 100]).expect("there is room");
            }
        }),
        ("delete", |store, keys| {
            for key in &keys.fresh {
                assert!(store.delete(key).expect("there is room"));
            }
        }),
        ("delete of nothing", |store, keys| {
            for key in &keys.missing {
                assert!(!store.delete(key).expect("nothing to do"));
            }
        }),
    ]
}

fn fill(store: &Store, keys: &Keys) {
    for key in &keys.present {
        store.put(key, [1; 100]).expect("there is room");
    }
    // The thread's first pin registers it, and a wblock is opened.
    assert!(store.get(&keys.present[0]).is_some());
}

fn check_allocations(store: &Store) {
    let keys = Keys::new();
    fill(store, &keys);
    for turn in 0..4 {
        for (name, operation) in operations() {
            let count = allocations(|| operation(store, &keys));
            assert_eq!(count, 0, "{name}, turn {turn}: {count} allocations in {KEYS} calls");
        }
    }
}

#[test]
fn the_counter_counts() {
    let mut numbers: Vec<u64> = Vec::new();
    assert_eq!(allocations(|| numbers.push(black_box(1))), 1);
    assert_eq!(allocations(|| ()), 0);
    let store = Store::open(config()).expect("memory");
    let keys = Keys::new();
    fill(&store, &keys);
    let with_one_more = allocations(|| {
        for key in &keys.present {
            black_box(store.get(key).map(|record| record.to_vec()));
        }
    });
    assert_eq!(with_one_more, KEYS as u64, "a copy of each value");
    drop(numbers);
}

#[test]
fn nothing_is_allocated_in_memory_only_mode() {
    check_allocations(&Store::open(config()).expect("memory"));
}

#[test]
fn nothing_is_allocated_with_a_shadow_behind() {
    let scratch = tempfile::tempdir().expect("a directory");
    let store = Store::open(config().shadow_dir(scratch.path())).expect("a new store");
    check_allocations(&store);
}

/// Growth may allocate, but not in proportion to the records.
#[test]
fn growth_of_the_index_allocates_for_segments_not_for_records() {
    let store = Store::open(config().expected_records(0)).expect("memory");
    let keys: Vec<String> = (0..50_000).map(|key| format!("{key}")).collect();
    store.put("the first pin of this thread", "").expect("there is room");
    let count = allocations(|| {
        for key in &keys {
            store.put(key, "").expect("there is room");
        }
    });
    let segments = store.stats().index_segments;
    assert!(count < 40 * segments, "{count} allocations for {segments} segments");
}

const MARKS: usize = 2;

/// A system call that nothing else here makes; by number so that nothing is cached.
fn mark() {
    black_box(std::os::unix::process::parent_id());
}

/// The child's part: fills a store, and works between two marks.
#[test]
fn child_entry() {
    let Some((part, argument)) = child::part() else { return };
    let config = if part == "memory" { config() } else { config().shadow_dir(argument) };
    let store = Store::open(config).expect("a new store");
    let keys = Keys::new();
    fill(&store, &keys);
    for (_, operation) in operations() {
        operation(&store, &keys);
    }
    mark();
    for (_, operation) in operations() {
        operation(&store, &keys);
    }
    mark();
    child::say("done");
}

/// System calls that the child's working thread made between its marks, as `strace` shows them.
fn calls_between_marks(part: &str) -> Option<Vec<String>> {
    if Command::new("strace").arg("-V").output().is_err() {
        skip::skip("system calls are not counted: there is no strace here");
        return None;
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let log = scratch.path().join("calls");
    let shadow = scratch.path().join("shadow");
    let log_text = log.to_str().expect("a plain path");
    let wrapper = ["strace", "-f", "-o", log_text];
    let shadow = shadow.to_str().expect("a plain path");
    let output = child::command(&wrapper, "child_entry", part, shadow).output();
    let output = output.expect("strace starts");
    let calls = std::fs::read_to_string(&log).unwrap_or_default();
    if !output.status.success() && !calls.contains("getppid") {
        skip::skip("system calls are not counted: strace may not trace here");
        return None;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let thread_of = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let lines: Vec<&str> = calls.lines().collect();
    let marks: Vec<usize> =
        (0..lines.len()).filter(|line| lines[*line].contains("getppid(")).collect();
    assert_eq!(marks.len(), MARKS, "the marks are seen");
    let thread = thread_of(lines[marks[0]]);
    let between = &lines[marks[0] + 1..marks[1]];
    // The first mark itself may be shown in two parts, around a call of another thread.
    let is_own = |line: &&&str| thread_of(line) == thread && !line.contains("getppid resumed");
    let own = between.iter().filter(is_own);
    Some(own.map(|line| (*line).to_owned()).collect())
}

#[test]
fn no_system_call_is_made_in_memory_only_mode() {
    if let Some(calls) = calls_between_marks("memory") {
        assert!(calls.is_empty(), "{calls:#?}");
    }
}

#[test]
fn no_system_call_is_made_with_a_shadow_behind() {
    if let Some(calls) = calls_between_marks("shadow") {
        assert!(calls.is_empty(), "{calls:#?}");
    }
}
