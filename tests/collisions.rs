//! Fault 28: keys chosen to collide. The hash is seeded, and the seed is the store's secret; here
//! it is read off the shadow, so that keys can be chosen as by somebody who knows it.
//!
//! What is asserted is work and memory, not time: how the index grew, what it costs, and (in
//! `src/index/tests.rs`) how many buckets and records a search looks at. What that comes to in time
//! is printed where `BRINDLE_MEASURE=1` asks for it, best in release mode and on a quiet machine.
#![expect(clippy::expect_used, reason = "helpers of tests")]

mod common;

use brindle::Store;
use brindle::format::{Found, SUPERBLOCK_BYTES, choose};
use brindle::testing::{FileIndex, Harness, SimDisk};
use common::{config, disk};
use std::sync::Arc;
use std::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const WBLOCKS: u32 = 64;
/// More than a segment of the index holds.
const KEYS: usize = 4_000;

fn open(disk: &SimDisk) -> Store {
    let store = Harness::default().open_on(config(1, WBLOCKS), Arc::new(disk.clone()));
    store.expect("a sound disk")
}

fn hash_seed(disk: &SimDisk) -> u64 {
    let image = disk.image(FileIndex(0));
    let (a, b) =
        (image.get(..SUPERBLOCK_BYTES), image.get(32 << 10..(32 << 10) + SUPERBLOCK_BYTES));
    let found = choose(a.expect("copy A"), b.expect("copy B"));
    let Found::Superblock { superblock, .. } = found else { panic!("{found:?}") };
    superblock.hash_seed
}

/// The first `KEYS` numbers whose hashes are alike.
fn chosen(seed: u64, is_alike: impl Fn(u64) -> bool) -> Vec<[u8; 8]> {
    let keys = (0..u64::MAX).map(u64::to_le_bytes);
    keys.filter(|key| is_alike(xxh3_64_with_seed(key, seed))).take(KEYS).collect()
}

/// Puts all keys, and returns the bytes and segments that the index has then.
fn fill(store: &Store, keys: &[[u8; 8]]) -> (u64, u64) {
    for key in keys {
        store.put(key, key).expect("room");
    }
    for key in keys {
        assert_eq!(store.get(key).as_deref(), Some(&key[..]));
    }
    let stats = store.stats();
    assert_eq!(stats.records, keys.len() as u64);
    (stats.index_bytes, stats.index_segments)
}

type IsAlike = fn(u64) -> bool;

/// How keys may be alike: the name, and whether a hash is.
const KINDS: [(&str, IsAlike); 3] = [
    ("any", |_| true),
    // One in 256: all in a few buckets of each segment.
    ("one home bucket", |hash| hash >> 24 & 0xff == 0x5a),
    // One in 32: as thin a range as segments may be deep. In a thinner one the index is full at
    // some 2,000 keys, which is an error of the put, and costs no more memory.
    ("one range", |hash| hash >> 59 == 0x15),
];

#[test]
fn keys_chosen_under_the_seed_of_the_store_cost_bounded_memory_and_survive_a_restart() {
    let mut plain = 0;
    for (name, is_alike) in KINDS {
        let disk = disk(1, WBLOCKS);
        let store = open(&disk);
        let keys = chosen(hash_seed(&disk), is_alike);
        let (bytes, segments) = fill(&store, &keys);
        println!("{name}: {bytes} bytes, {segments} segments");
        plain = plain.max(segments * u64::from(name == "any"));
        // Nothing worse than segments that are one tenth as full.
        assert!(segments <= 10 * plain, "{name}: {segments} segments");
        assert!(bytes <= 8 << 20, "{name}: {bytes} bytes");
        store.close().expect("a sound disk");
        fill(&open(&disk), &keys);
    }
}

#[test]
fn keys_chosen_under_another_seed_are_as_any_others() {
    let mut plain = None;
    for (name, is_alike) in KINDS {
        let (known, secret) = (disk(1, WBLOCKS), disk(1, WBLOCKS));
        drop(open(&known));
        let store = open(&secret);
        assert_ne!(hash_seed(&known), hash_seed(&secret), "each store draws its own");
        let (_, segments) = fill(&store, &chosen(hash_seed(&known), is_alike));
        let plain = *plain.get_or_insert(segments);
        assert!(segments.abs_diff(plain) <= 1, "{name}: {segments} segments, not {plain}");
    }
}

/// Gets and puts a second with keys of each kind, as a share of those with any keys.
#[test]
fn what_collisions_cost_is_measured_where_it_is_asked_for() {
    if std::env::var_os("BRINDLE_MEASURE").is_none() {
        return;
    }
    let mut plain: Option<[f64; 2]> = None;
    for (name, is_alike) in KINDS {
        let disk = disk(1, WBLOCKS);
        let store = open(&disk);
        let keys = chosen(hash_seed(&disk), is_alike);
        fill(&store, &keys);
        let rate = |act: &dyn Fn(&[u8; 8])| {
            let one = || -> f64 {
                let start = Instant::now();
                (0..20).for_each(|_| keys.iter().for_each(act));
                f64::from(20 * u32::try_from(keys.len()).expect("few"))
                    / start.elapsed().as_secs_f64()
            };
            (0..9).map(|_| one()).fold(0.0, f64::max)
        };
        let gets = rate(&|key| assert!(store.get(key).is_some()));
        let puts = rate(&|key| drop(store.put(key, key)));
        let [of_gets, of_puts] = *plain.get_or_insert([gets, puts]);
        println!(
            "{name}: {:.2} M gets/s ({:.2} of any), {:.2} M puts/s ({:.2} of any)",
            gets / 1e6,
            gets / of_gets,
            puts / 1e6,
            puts / of_puts
        );
    }
}
