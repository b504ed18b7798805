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

use brindle::testing::{Harness, Pace, Pump, Reclaimer, SimDisk};
use brindle::{Config, Store};
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

/// A cache on a disk, and what was seen of its keys.
struct Cache {
    disk: SimDisk,
    config: Config,
    keys: BTreeMap<u64, Seen>,
    random: Random,
    /// Puts so far: the number of the last one.
    puts: u64,
}

impl Cache {
    fn new(seed: u64) -> Self {
        let config = config(1, WBLOCKS)
            .evict_used_pct(40)
            .sweep_interval(Duration::from_millis(1))
            .stop_writes_avail_pct(0);
        let (keys, random) = (BTreeMap::new(), Random(seed));
        Self { disk: disk(1, WBLOCKS), config, keys, random, puts: 0 }
    }

    /// Puts as much as fits in twice, and evicts; returns how many records.
    fn live(&mut self) -> u64 {
        let members = Arc::new(self.disk.clone());
        let opened = Harness::default().open_driven(self.config.clone(), members);
        let (store, mut pump, mut reclaimers) = opened.unwrap();
        let Self { disk, keys, random, puts, .. } = self;
        let first = *puts + 1;
        for put in first..first + u64::from(WBLOCKS) * u64::from(WBLOCK_BYTES) * 2 / 1_000 {
            *puts = put;
            let number = if random.below(3) == 0 { random.below(20) } else { random.below(KEYS) };
            if random.below(4) == 0 {
                let _ = store.get(random.below(KEYS).to_le_bytes());
            }
            let event = disk.crash_points();
            let is_put = store.put(number.to_le_bytes(), value(put)).is_ok();
            if is_put {
                let of_key = keys.entry(number).or_default();
                of_key.puts.push((put, event));
                (of_key.is_gone, of_key.gone_at) = (false, None);
            }
            if !is_put || put % 16 == 0 {
                work_off(&mut pump, &mut reclaimers, |is_flushed| {
                    note_gone(&store, disk, keys, is_flushed);
                });
            }
        }
        store.stats().reclaim.evicted
    }

    /// Cuts the power here and there; returns how many keys were seen to have stayed gone.
    fn cut(&mut self, seed: u64) -> u64 {
        let mut gone = 0;
        for _ in 0..CUTS {
            let point = self.random.below(self.disk.crash_points() as u64) as usize;
            let cut = self.disk.crash_at(point, self.random.next());
            let opened = Harness::default().open_pumped(self.config.clone(), Arc::new(cut));
            let Ok((store, _pump)) = opened else {
                continue; // before the superblocks were written
            };
            for (number, of_key) in &self.keys {
                let found = store.get(number.to_le_bytes()).map(|record| record.to_vec());
                let place = format!("seed {seed}, cut at {point}: {number}");
                if of_key.gone_at.is_some_and(|gone_at| gone_at <= point) {
                    gone += 1;
                    assert_eq!(found, None, "{place} is back: {of_key:?}");
                } else if let Some(found) = found {
                    let is_put = of_key.puts.iter().any(|(put, _)| found == value(*put));
                    assert!(is_put, "{place} was never put so");
                }
            }
            assert!(store.audit().mismatches.is_empty(), "seed {seed}: {:?}", store.audit());
        }
        gone
    }

    /// Goes on with what a cut in the second half leaves; what is absent then has to stay so.
    fn restart(&mut self) {
        let points = self.disk.crash_points() as u64;
        let point = points / 2 + self.random.below(points / 2);
        self.disk = self.disk.crash_at(point as usize, self.random.next());
        let members = Arc::new(self.disk.clone());
        let opened = Harness::default().open_pumped(self.config.clone(), members);
        let (store, _pump) = opened.unwrap();
        for (number, of_key) in &mut self.keys {
            let found = store.get(number.to_le_bytes()).map(|record| record.to_vec());
            of_key.is_gone = found.is_none();
            of_key.gone_at = found.is_none().then(|| self.disk.crash_points());
            of_key.puts.retain(|(put, _)| found.as_ref() == Some(&value(*put)));
            of_key.puts.iter_mut().for_each(|(_, event)| *event = 0);
        }
    }
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

fn first_seed() -> u64 {
    std::env::var("BRINDLE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

#[test]
fn what_was_evicted_does_not_come_back_with_a_power_cut() {
    let (mut evicted, mut gone) = (0, 0);
    for seed in first_seed()..first_seed() + 4 {
        let mut cache = Cache::new(seed);
        evicted += cache.live();
        gone += cache.cut(seed);
    }
    println!("{evicted} evicted, {gone} seen to stay gone");
    assert!(evicted > 1_000 && gone > 1_000, "{evicted} evicted, {gone} stayed gone");
}

/// A cut may leave a record beside its moved copy. It must be remembered that there are two, or the
/// eviction of one brings the other back.
#[test]
fn what_was_evicted_in_a_later_run_does_not_come_back_either() {
    for seed in first_seed()..first_seed() + 5 {
        let mut cache = Cache::new(seed);
        cache.live();
        for _ in 0..2 {
            cache.restart();
            cache.live();
            cache.cut(seed);
        }
    }
}
