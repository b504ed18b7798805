//! Invariant 5 for eviction: what a cache has given up does not come back, wherever power is cut.
//!
//! A small cache runs on the simulated disk, its pump and its reclaimers in the test's hands. Keys
//! are put once, or again and again, so that some records have older copies and some do not, and
//! some are moved before they go. A key that was once seen to be gone must be gone after a cut at
//! any later event, unless it was put again; and what there is of a key is something that was put.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests"
)]

mod common;

use brindle::Store;
use brindle::testing::{Harness, Pace, Pump, Reclaimer, SimDisk};
use common::{Random, WBLOCK_BYTES, config, disk};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const WBLOCKS: u32 = 14;
const KEYS: u64 = 600;
const CUTS: u64 = 60;

/// What was seen of a key.
#[derive(Debug, Default)]
struct Seen {
    /// The numbers of its puts, and the disk's events before each.
    puts: Vec<(u64, usize)>,
    /// After its last put it was seen to be gone; then a flush was completed, after so many events.
    is_gone: bool,
    gone_at: Option<usize>,
}

fn value(put: u64) -> Vec<u8> {
    let mut value = vec![put as u8; 900 + (put % 300) as usize];
    value.splice(..8, put.to_le_bytes());
    value
}

/// Polls until nothing is left to do at once, with a look in between at what is gone.
fn work_off(pump: &mut Pump, reclaimers: &mut [Reclaimer], mut look: impl FnMut(bool)) {
    for _ in 0..200 {
        let paces: Vec<Pace> = reclaimers.iter_mut().map(Reclaimer::poll).collect();
        look(false);
        pump.poll(true).expect("no faults");
        look(true);
        if paces.iter().all(|pace| *pace == Pace::Idle) {
            break;
        }
    }
}

fn run(seed: u64) -> (u64, u64) {
    let mut random = Random(seed);
    let disk = disk(1, WBLOCKS);
    let config = config(1, WBLOCKS)
        .evict_used_pct(40)
        .sweep_interval(Duration::from_millis(1))
        .stop_writes_avail_pct(0);
    let harness = Harness::default();
    let members = Arc::new(disk.clone());
    let (store, mut pump, mut reclaimers) = harness.open_driven(config.clone(), members).unwrap();
    let mut keys: BTreeMap<u64, Seen> = BTreeMap::new();
    for put in 1..=u64::from(WBLOCKS) * u64::from(WBLOCK_BYTES) * 2 / 1_000 {
        let number = if random.below(3) == 0 { random.below(20) } else { random.below(KEYS) };
        if random.below(4) == 0 {
            let _ = store.get(random.below(KEYS).to_le_bytes());
        }
        let event = disk.crash_points();
        if store.put(number.to_le_bytes(), value(put)).is_err() {
            work_off(&mut pump, &mut reclaimers, |is_flushed| {
                note_gone(&store, &disk, &mut keys, is_flushed);
            });
            continue;
        }
        let of_key = keys.entry(number).or_default();
        of_key.puts.push((put, event));
        (of_key.is_gone, of_key.gone_at) = (false, None);
        if put % 16 == 0 {
            work_off(&mut pump, &mut reclaimers, |is_flushed| {
                note_gone(&store, &disk, &mut keys, is_flushed);
            });
        }
    }
    let evicted = store.stats().reclaim.evicted;
    let mut gone = 0;
    for _ in 0..CUTS {
        let point = random.below(disk.crash_points() as u64) as usize;
        let cut = disk.crash_at(point, random.next());
        let Ok((store, _pump)) = harness.open_pumped(config.clone(), Arc::new(cut)) else {
            continue; // before the superblocks were written
        };
        for (number, of_key) in &keys {
            let found = store.get(number.to_le_bytes()).map(|record| record.to_vec());
            if of_key.gone_at.is_some_and(|gone_at| gone_at <= point) {
                gone += 1;
                assert_eq!(
                    found, None,
                    "seed {seed}, cut at {point}: {number} is back: {of_key:?}"
                );
            } else if let Some(found) = found {
                let is_put = of_key.puts.iter().any(|(put, _)| found == value(*put));
                assert!(is_put, "seed {seed}, cut at {point}: {number} was never put so");
            }
        }
        assert!(store.audit().mismatches.is_empty(), "seed {seed}: {:?}", store.audit());
    }
    (evicted, gone)
}

/// Notes which keys are gone, or that what was gone before is so on the disk.
fn note_gone(store: &Store, disk: &SimDisk, keys: &mut BTreeMap<u64, Seen>, is_flushed: bool) {
    for (number, of_key) in keys {
        if is_flushed && of_key.is_gone {
            of_key.gone_at.get_or_insert_with(|| disk.crash_points());
        } else if !is_flushed {
            of_key.is_gone |= !store.contains_key(number.to_le_bytes());
        }
    }
}

#[test]
fn what_was_evicted_does_not_come_back_with_a_power_cut() {
    let first = std::env::var("BRINDLE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let (mut evicted, mut gone) = (0, 0);
    for seed in first..first + 4 {
        let (more_evicted, more_gone) = run(seed);
        evicted += more_evicted;
        gone += more_gone;
    }
    println!("{evicted} evicted, {gone} seen to stay gone");
    assert!(evicted > 1_000 && gone > 1_000, "{evicted} evicted, {gone} stayed gone");
}
