//! The index against a map, under threads, and at its limits. Inline, because the index is not
//! part of the public API. Keys are numbers; the "record" of a key lies at a location that tells
//! the key, so that `is_key` needs no store.
#![expect(clippy::unwrap_used, reason = "a refusal fails the test")]

use super::{Changed, Hash, Index, IndexFull, Place, Records, ScanCursor, SlotState};
use crate::config::HugePages;
use crate::sync::epoch::{self, Guard, Passage, pin};
use crate::sync::{AtomicBool, Relaxed};
use crate::unit::Location;
use std::cell::Cell;
use std::collections::HashMap;

/// Versions of a key lie next to each other.
const VERSIONS: u64 = 1 << 8;

fn location(key: u64, version: u64) -> Location {
    Location((key + 1) * VERSIONS + version % VERSIONS)
}

fn key_of(location: Location) -> u64 {
    location.0 / VERSIONS - 1
}

/// `SplitMix64`'s finisher: any input gives a good hash.
fn mix(key: u64) -> u64 {
    let mut z = key.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

struct Keys(fn(u64) -> u64);

impl Records for Keys {
    fn hash_at(&self, location: Location) -> Hash {
        Hash((self.0)(key_of(location)))
    }
}

const KEYS: Keys = Keys(mix);

/// Waits for the pins of other tests of this process: they hold retired segments up, for as long as
/// their threads wait for a core, and those cost memory.
fn give_way() {
    let passage = Passage::begin();
    while !passage.is_over() {
        epoch::advance();
        std::thread::yield_now();
    }
}

/// Inserts `key`, which is not there, without a look at the entries that resemble it.
fn insert_new(index: &Index, key: u64) {
    if key.is_multiple_of(1_000) {
        give_way();
    }
    let guard = pin();
    let start = index.start(&guard, Hash(mix(key)));
    let place = index.search(&guard, &KEYS, start, |_| false);
    assert!(
        matches!(place, Ok(Place::Vacant(place)) if place.insert(location(key, 0)).is_ok()),
        "there is room for {key}"
    );
}

/// Puts `key` at `version`; true if it was new.
fn put(index: &Index, keys: &Keys, key: u64, version: u64) -> Result<bool, IndexFull> {
    let hash = Hash((keys.0)(key));
    let new = location(key, version);
    loop {
        let guard = pin();
        let place =
            index.search(&guard, keys, index.start(&guard, hash), |at| key_of(at) == key)?;
        let (changed, is_new) = match place {
            Place::Occupied(place) => (place.replace(new), false),
            Place::Vacant(place) => (place.insert(new), true),
        };
        if changed != Err(Changed) {
            return Ok(is_new);
        }
    }
}

fn remove(index: &Index, keys: &Keys, key: u64) -> bool {
    let hash = Hash((keys.0)(key));
    loop {
        let guard = pin();
        match index.search_occupied(&guard, keys, hash, |at| key_of(at) == key).unwrap() {
            None => return false,
            Some(place) if place.remove().is_ok() => return true,
            Some(_) => {}
        }
    }
}

fn find(index: &Index, guard: &Guard, keys: &Keys, key: u64) -> Option<Location> {
    index.find(guard, Hash((keys.0)(key)), |at| key_of(at) == key)
}

fn index(expected: u64) -> Index {
    Index::new(expected, HugePages::Off).unwrap()
}

thread_local! {
    static BUCKETS_SEEN: Cell<u64> = const { Cell::new(0) };
}

/// A search of this thread looks at one bucket more.
pub(super) fn note_bucket() {
    BUCKETS_SEEN.set(BUCKETS_SEEN.get() + 1);
}

/// All keys, each with how often it was seen.
fn scan(index: &Index, mut each: impl FnMut()) -> HashMap<u64, u32> {
    let mut seen = HashMap::new();
    let mut cursor = Some(ScanCursor::default());
    while let Some(at) = cursor {
        let guard = pin();
        let mut slots = Vec::new();
        cursor = index.slots_from(&guard, at, &mut slots);
        assert!(cursor.is_none_or(|cursor| cursor > at), "a scan moves on");
        each();
        for slot in slots {
            match slot.state() {
                SlotState::Live(at) | SlotState::Frozen(at) => {
                    *seen.entry(key_of(at)).or_default() += 1;
                }
                SlotState::Deleted => {}
            }
        }
    }
    seen
}

#[test]
fn agrees_with_a_map() {
    let seed = u64::from(std::process::id());
    let index = index(0);
    let mut model = HashMap::new();
    for step in 0..120_000_u64 {
        let random = mix(seed << 32 | step);
        let key = random % 30_000;
        match random >> 60 {
            0..=7 => {
                let was_new = model.insert(key, step % VERSIONS).is_none();
                assert_eq!(put(&index, &KEYS, key, step), Ok(was_new), "seed {seed} {step}");
            }
            8..=11 => {
                let was_there = model.remove(&key).is_some();
                assert_eq!(remove(&index, &KEYS, key), was_there, "seed {seed} {step}");
            }
            _ => {
                let expected = model.get(&key).map(|version| location(key, *version));
                assert_eq!(find(&index, &pin(), &KEYS, key), expected, "seed {seed} {step}");
            }
        }
    }
    assert!(index.splits() > 3 && index.rebuilds() > 3, "growth was exercised");
    let scanned = scan(&index, || {});
    assert_eq!(scanned.len(), model.len(), "seed {seed}");
    assert!(scanned.iter().all(|(key, times)| *times == 1 && model.contains_key(key)));
}

/// At every size of a whole doubling; without optimization, for its first tenth.
#[test]
fn a_record_costs_at_most_16_bytes_from_a_million_up() {
    let index = index(0);
    let mut check = 1_000_000_u64;
    let end = if cfg!(debug_assertions) { 1_100_000 } else { 2_200_000_u64 };
    for key in 0..end {
        if key == check {
            assert!(index.bytes() <= 16 * key, "{} bytes at {key} records", index.bytes());
            check = check * 51 / 50;
        }
        insert_new(&index, key);
    }
    assert!(check >= end);
}

#[test]
fn expected_records_fit_at_16_bytes_with_hardly_a_split() {
    for expected in [100_000_u64, 170_000] {
        let index = index(expected);
        let before = index.segments();
        for key in 0..expected {
            insert_new(&index, key);
        }
        assert!(index.splits() <= 1 + before / 50, "{} splits of {before}", index.splits());
        let slack = 3 << 20; // one chunk, not yet full, and a few retired segments
        assert!(index.bytes() <= 16 * expected + slack, "{} at {expected}", index.bytes());
    }
}

/// Memory comes 2 MiB at a time: 2 bytes a record at a million, so that every hint is its own case.
#[test]
fn a_hint_from_a_million_up_costs_at_most_16_bytes_a_record() {
    let mut hint = 1_000_000_u64;
    while hint < 3_400_000 {
        let index = index(hint);
        assert!(index.bytes() <= 16 * hint, "{} bytes at {hint} records", index.bytes());
        hint += hint / 100;
    }
}

/// With as many records as were expected, and with half as many again; without optimization, for
/// one hint and to its end.
#[test]
fn a_hint_holds_when_it_is_met_and_passed() {
    let thousands: &[u64] = if cfg!(debug_assertions) {
        &[1_000]
    } else {
        &[1_000, 1_050, 1_100, 1_190, 1_300, 1_500, 2_000, 3_300]
    };
    for hint in thousands.iter().map(|thousands| thousands * 1_000) {
        let index = index(hint);
        let end = if cfg!(debug_assertions) { hint } else { hint * 3 / 2 };
        for key in 0..=end {
            if key == hint {
                assert!(index.splits() <= 8, "{} splits at {hint}", index.splits());
            }
            if key >= hint && key % 1_000 == 0 {
                let bytes = index.bytes();
                assert!(bytes <= 16 * key, "{bytes} bytes for {key} records, {hint} expected");
            }
            insert_new(&index, key);
        }
    }
}

/// A cache: each new key replaces an old one, for ever.
#[test]
fn churn_neither_grows_the_index_nor_costs_more_than_16_bytes_a_record() {
    let live = 60_000_u64;
    let index = index(0);
    for key in 0..live * 8 {
        assert_eq!(put(&index, &KEYS, key, 0), Ok(true));
        if key >= live {
            assert!(remove(&index, &KEYS, key - live));
        }
        if key % (live / 8) == 0 {
            give_way();
        }
    }
    assert!(index.segments() * 16_384 <= 16 * live, "{} segments", index.segments());
    // Huge pages of 2 MiB, and the segments that an eighth of a generation retires.
    assert!(index.bytes() <= 16 * live + (16 << 20), "{} bytes", index.bytes());
    assert!(index.rebuilds() > 50);
}

#[test]
fn threads_insert_each_key_once_and_lose_none() {
    let (threads, keys) = (4, 60_000_u64);
    let index = index(0);
    let inserted: u64 = std::thread::scope(|scope| {
        let work = |thread: u64| {
            let index = &index;
            move || {
                let mut inserted = 0;
                for step in 0..keys {
                    let key = (step * 7 + thread * keys / 4) % keys;
                    inserted += u64::from(put(index, &KEYS, key, thread).unwrap());
                    assert!(find(index, &pin(), &KEYS, key).is_some(), "{key} was put");
                }
                inserted
            }
        };
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(work(thread))).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).sum()
    });
    assert_eq!(inserted, keys, "each key was new once");
    assert!(scan(&index, || {}).values().all(|times| *times == 1));
}

/// Each thread owns keys, so that it knows what a find must return; all share the segments.
#[test]
fn threads_see_their_own_writes_through_churn_and_growth() {
    let index = index(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let index = &index;
            scope.spawn(move || {
                let mut model = HashMap::new();
                for step in 0..50_000_u64 {
                    let random = mix(thread << 40 | step);
                    let key = (random % 8_000) * 4 + thread;
                    if random >> 62 == 0 {
                        assert_eq!(remove(index, &KEYS, key), model.remove(&key).is_some());
                    } else {
                        let is_new = model.insert(key, step % VERSIONS).is_none();
                        assert_eq!(put(index, &KEYS, key, step), Ok(is_new));
                    }
                    let other = (mix(random) % 8_000) * 4 + thread;
                    let expected = model.get(&other).map(|version| location(other, *version));
                    assert_eq!(find(index, &pin(), &KEYS, other), expected);
                }
            });
        }
    });
}

#[test]
fn a_scan_sees_what_stays_exactly_once_while_segments_split() {
    let index = index(0);
    let stay = 20_000_u64;
    for key in 0..stay {
        put(&index, &KEYS, key, 0).unwrap();
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for key in stay.. {
                put(&index, &KEYS, key, 0).unwrap();
                put(&index, &KEYS, key % stay, key).unwrap();
                if done.load(Relaxed) || key > 600_000 {
                    break;
                }
            }
        });
        for _ in 0..4 {
            let seen = scan(&index, std::thread::yield_now);
            assert!((0..stay).all(|key| seen.get(&key) == Some(&1)), "each exactly once");
        }
        done.store(true, Relaxed);
        writer.join().unwrap();
    });
}

#[test]
fn a_scan_is_not_led_astray_by_splits_between_its_steps() {
    let index = index(0);
    let stay = 10_000_u64;
    let mut next = stay;
    for key in 0..stay {
        put(&index, &KEYS, key, 0).unwrap();
    }
    let seen = scan(&index, || {
        for _ in 0..2_000 {
            put(&index, &KEYS, next, 0).unwrap();
            next += 1;
        }
    });
    assert!(index.splits() > 10);
    assert!((0..stay).all(|key| seen.get(&key) == Some(&1)));
}

/// Puts keys until the index refuses one, and checks that the others are not hurt.
fn fill_with(hash: fn(u64) -> u64, at_most: u64) -> (u64, Index) {
    let (index, keys) = (index(0), Keys(hash));
    let mut put_keys = 0;
    while put_keys < at_most && put(&index, &keys, put_keys, 0).is_ok() {
        put_keys += 1;
    }
    for round in 0..3 {
        assert_eq!(put(&index, &keys, put_keys, 0), Err(IndexFull::Crowded), "round {round}");
        assert_eq!(put(&index, &keys, 0, round), Ok(false), "what is there can be changed");
    }
    let guard = pin();
    assert!((0..put_keys).all(|key| find(&index, &guard, &keys, key).is_some()));
    drop(guard);
    (put_keys, index)
}

#[test]
fn keys_of_one_hash_end_in_full() {
    let hash = |_| 0x0123_4567_89AB_CDEF;
    let (keys, index) = fill_with(hash, 1_000);
    assert_eq!(keys, 128, "a window");
    assert!(index.segments() < 100 && index.bytes() < 8 << 20);
    assert!(remove(&index, &Keys(hash), 1));
    assert_eq!(put(&index, &Keys(hash), keys, 0), Ok(true), "room for one again");
    assert_eq!(put(&index, &Keys(hash), 1, 0), Err(IndexFull::Crowded));
}

/// Equal low halves cost memory, more than other keys, and no more than that.
#[test]
fn keys_of_one_home_bucket_spread_over_segments() {
    let (index, keys) = (index(0), Keys(|key| mix(key) << 32 | 0x1234_5678));
    for key in 0..20_000 {
        assert_eq!(put(&index, &keys, key, 0), Ok(true));
    }
    assert!((0..20_000).all(|key| find(&index, &pin(), &keys, key).is_some()));
    assert!(index.segments() * 16_384 < 20_000 * 128, "{}", index.segments());
}

#[test]
fn keys_of_one_segment_end_in_full() {
    let (keys, index) = fill_with(|key| mix(key) >> 32, 1_000_000);
    assert!(keys > 1_000, "{keys}");
    assert!(index.segments() < 100, "{}", index.segments());
}

#[test]
fn a_new_index_is_empty_and_a_dropped_one_is_gone() {
    for expected in [0, 1, 10_000_000] {
        let index = index(expected);
        assert_eq!(find(&index, &pin(), &KEYS, 7), None);
        assert!(scan(&index, || {}).is_empty());
        assert!(index.bytes() <= 2 * (2 << 20) + 16 * expected);
        index.start(&pin(), Hash(3)).prefetch();
    }
}

type Mix = fn(u64) -> u64;

/// Buckets and records that a find looks at on average, of keys that are there and of others that
/// are as much alike, in hundredths.
fn work_of_a_find(hash: Mix, count: u64) -> [u64; 2] {
    let (index, keys) = (index(0), Keys(hash));
    for key in 0..count {
        assert_eq!(put(&index, &keys, key, 0), Ok(true));
    }
    let (guard, mut records) = (pin(), 0);
    BUCKETS_SEEN.set(0);
    for key in 0..2 * count {
        let is_key = |at| {
            records += 1;
            key_of(at) == key
        };
        assert_eq!(index.find(&guard, Hash(hash(key)), is_key).is_some(), key < count);
    }
    [BUCKETS_SEEN.get() * 50 / count, records * 50 / count]
}

/// Keys that share all that is cheap to choose by trying. A bucket is a cache line, a record one or
/// two: a search of random keys takes about two lines, of these at most a few more.
#[test]
fn keys_chosen_to_collide_cost_a_few_more_lines() {
    // A range as thin as the index lets segments be deep; in a thinner one it is full at some 2,000
    // keys: see `keys_of_one_segment_end_in_full`.
    let kinds: [(&str, Mix); 4] = [
        ("any", mix),
        ("one home bucket", |key| mix(key) & !0xFFFF_FFFF | 0x1234_5678),
        ("one step and home bucket", |key| mix(key) & !0xFF_FFFF_FFFF | 0x12_1234_5678),
        ("one range", |key| mix(key) >> 5 | 0x15 << 59),
    ];
    for (name, hash) in kinds {
        let [buckets, records] = work_of_a_find(hash, 4_000);
        assert!(buckets <= 800, "{name}: {buckets} hundredths of a bucket");
        assert!(records <= 150, "{name}: {records} hundredths of a record");
    }
}

/// What the tests above do, in the least that makes a segment split: for Miri.
#[test]
fn two_threads_split_a_segment_between_them() {
    let index = index(0);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let index = &index;
            scope.spawn(move || {
                for key in (0..2_100_u64).filter(|key| key % 2 == thread) {
                    assert_eq!(put(index, &KEYS, key, 0), Ok(true));
                    if key % 50 < 2 {
                        assert_eq!(put(index, &KEYS, key, 1), Ok(false));
                        assert!(find(index, &pin(), &KEYS, key).is_some());
                    }
                    if key % 70 < 2 {
                        assert!(remove(index, &KEYS, key));
                    }
                }
            });
        }
    });
    assert_eq!(index.splits(), 1);
    assert_eq!(scan(&index, || {}).len(), 2_100 - 60);
}
