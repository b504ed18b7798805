//! What the models share: how they are run, and a store of numbered keys on the real stripes and
//! the real index.
//!
//! A model runs under three schedulers in turn: random, and PCT with depth 2 and 3, which finds a
//! bug of that depth with a probability that has a bound (Burckhardt et al., "A randomized
//! scheduler with probabilistic guarantees of finding bugs", ASPLOS 2010). Its seed is printed; a
//! failure prints its schedule, too.
//!
//! - `BRINDLE_SCHEDULES=N`: N schedules a model, 100,000 if not set.
//! - `BRINDLE_SEED=S`: the seed; the day's number if not set, so that each day looks elsewhere.
//! - `BRINDLE_REPLAY=file`: one schedule, the text that shuttle printed, of the one test that is
//!   named on the command line.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses a part")]

use brindle::format::{StoreId, StoreKey};
use brindle::index::{Forgotten, Hash, Index, Occupied, Place, Records};
use brindle::region::{Identity, NoRoom, NowUs, Purpose, Region, Reservation, Stripes};
use brindle::sync::epoch::{Guard, pin};
use brindle::unit::{Geometry, Location, RBLOCK_BYTES, Sequence, WBLOCK_HEADER_RBLOCKS, WblockId};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::Arc;
use shuttle::{Config, MaxSteps, Runner};
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Rblocks of a wblock that records can have.
pub const ROOM: u32 = 8;
/// Keys of a store; what a mark has room for.
pub const KEYS: u8 = 8;
/// Versions that a mark has room for: `1..VERSIONS`.
pub const VERSIONS: u8 = 32;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Runs `model` under so many schedules, and says how many and from which seed.
pub fn check(name: &str, model: fn()) {
    if let Some(file) = std::env::var_os("BRINDLE_REPLAY") {
        shuttle::replay_from_file(model, file);
        return;
    }
    let count = usize::try_from(from_env("BRINDLE_SCHEDULES").unwrap_or(100_000)).expect("fits");
    let days =
        || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() / 86_400);
    let seed = from_env("BRINDLE_SEED").unwrap_or_else(days);
    println!("{name}: BRINDLE_SEED={seed} BRINDLE_SCHEDULES={count}");
    let (start, third) = (Instant::now(), count.div_ceil(3));
    let config = || {
        let mut config = Config::new();
        config.stack_size = 128 << 10;
        // A model that goes on for ever has found a livelock.
        config.max_steps = MaxSteps::FailAfter(200_000);
        config.silence_warnings = true;
        config
    };
    Runner::new(RandomScheduler::new_from_seed(seed, third), config()).run(model);
    for depth in [2, 3] {
        Runner::new(PctScheduler::new_from_seed(seed, depth, third), config()).run(model);
    }
    println!("{name}: {} schedules in {:.1} s", 3 * third, start.elapsed().as_secs_f64());
}

/// The shape of a store.
#[derive(Clone, Copy)]
pub struct Shape {
    pub stripes: u32,
    pub wblocks_per_stripe: u32,
    pub kept_for_moves: u32,
    pub reclaimers: u32,
    pub has_shadow: bool,
}

/// Stripes of which all wblocks are free.
pub fn stripes(shape: Shape) -> Arc<Stripes> {
    let Shape { stripes, wblocks_per_stripe, kept_for_moves, reclaimers, has_shadow } = shape;
    let wblock_bytes = (WBLOCK_HEADER_RBLOCKS + ROOM) * RBLOCK_BYTES;
    let geometry = Geometry { wblock_bytes, stripes, wblocks_per_stripe };
    let store_id = StoreId([7; 16]);
    let identity = Identity {
        store_id,
        store_key: StoreKey::of(&store_id),
        kept_for_moves,
        kept_for_deletes: kept_for_moves,
        reclaimers,
        has_shadow,
    };
    let now_us = NowUs(Box::new(|| 0));
    let stripes = Stripes::new(Region::model(geometry), identity, Sequence(1), now_us);
    for wblock in 0..geometry.wblocks() {
        stripes.release(WblockId(wblock));
    }
    Arc::new(stripes)
}

/// All keys share two home buckets, and go to both halves of every split.
pub fn hash(key: u8) -> Hash {
    let key = u64::from(key);
    let home = if key % 4 == 3 { u64::from(u32::MAX) } else { 0 };
    Hash((key % 2) << 63 | (key / 2 % 2) << 62 | (key / 4 % 2) << 61 | (key + 1) << 44 | home)
}

/// A record, as a reader finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub key: u8,
    pub version: u8,
    pub rblocks: u32,
}

/// Stripes and an index, with what the store, `upkeep` and nobody else does to both: see there.
pub struct Store {
    pub stripes: Arc<Stripes>,
    pub index: Index,
    pub forgotten: Forgotten,
    /// The version that each key had last, by who published it: invisible to shuttle, and so
    /// noted at the very step that published.
    newest: Mutex<[u8; KEYS as usize]>,
}

pub struct Keys<'a>(pub &'a Store);

impl Records for Keys<'_> {
    fn hash_at(&self, location: Location) -> Hash {
        hash(self.0.read(location).key)
    }
}

impl Store {
    pub fn new(shape: Shape) -> Arc<Self> {
        let index = Index::new(0).expect("memory");
        let (stripes, forgotten) = (stripes(shape), Forgotten::new());
        Arc::new(Self { stripes, index, forgotten, newest: Mutex::new([0; KEYS as usize]) })
    }

    /// The record at `at`, of which the index or a walk has told.
    pub fn read(&self, at: Location) -> Found {
        let rblocks = self.stripes.word_of(at).rblocks().map_or(0, NonZeroU32::get);
        let marks = self.stripes.region().read(at, rblocks);
        let mark = *marks.first().expect("a record is shown before it is published");
        assert!(mark != 0 && marks.iter().all(|other| *other == mark), "whole: {marks:?}");
        let [mark, ..] = mark.to_le_bytes();
        Found { key: mark >> 5, version: mark & 31, rblocks }
    }

    fn is_key(&self, key: u8) -> impl FnMut(Location) -> bool {
        move |at| self.read(at).key == key
    }

    pub fn find(&self, guard: &Guard, key: u8) -> Option<Found> {
        let at = self.index.find(guard, hash(key), self.is_key(key))?;
        Some(self.read(at))
    }

    fn append<'g>(
        &'g self,
        guard: &'g Guard,
        (lane, purpose): (u32, Purpose),
        record: Found,
    ) -> Result<Reservation<'g>, NoRoom> {
        let mut space = self.stripes.reserve(guard, lane, record.rblocks, purpose)?;
        let mark = record.key << 5 | record.version;
        space.fill(8, &vec![mark; (record.rblocks * RBLOCK_BYTES - 8) as usize]);
        space.show();
        Ok(space)
    }

    fn bury(&self, at: Location, rblocks: u32) {
        self.stripes.wblock(self.stripes.geometry().wblock(at)).bury(rblocks);
    }

    /// As `store::write`: judge, append, publish, bury, commit. The version is above all that the
    /// key had. `None`: there is no room.
    pub fn put(&self, lane: u32, key: u8, rblocks: u32) -> Option<u8> {
        let guard = &pin();
        let mut pending: Option<(Reservation<'_>, u8)> = None;
        loop {
            let place = self.index.search(
                guard,
                &Keys(self),
                self.index.start(guard, hash(key)),
                self.is_key(key),
            );
            let place = place.expect("the index can grow");
            let (old, version) = match &place {
                Place::Occupied(entry) => {
                    let old = self.read(entry.location());
                    (Some((entry.location(), old)), old.version + 1)
                }
                Place::Vacant(_) => {
                    let bound = self.forgotten.bound().map_or(0, u64::from);
                    (None, u8::try_from(bound).expect("few versions") + 1)
                }
            };
            assert!(version < VERSIONS, "too many puts for a mark");
            let space = match pending.take() {
                Some((space, written)) if written == version => space,
                // Of another version: the reservation is dropped, and becomes padding.
                _ => self
                    .append(guard, (lane, Purpose::Put), Found { key, version, rblocks })
                    .ok()?,
            };
            let published = match &place {
                Place::Occupied(entry) => entry.replace(space.location()),
                Place::Vacant(vacant) => vacant.insert(space.location()),
            };
            if published.is_err() {
                pending = Some((space, version));
                continue;
            }
            self.note(key, version);
            if let Some((at, old)) = old {
                self.bury(at, old.rblocks);
            }
            space.commit();
            return Some(version);
        }
    }

    /// Versions of a key only grow.
    fn note(&self, key: u8, version: u8) {
        let mut newest = self.newest.lock().expect("no model panics with it");
        let newest = newest.get_mut(usize::from(key)).expect("a key");
        assert!(*newest < version, "key {key}: version {version} after {newest}");
        *newest = version;
    }

    /// As `upkeep::reclaim`: moves the record at `at`, if the index still names it. `None`: there
    /// is no room.
    pub fn relocate(&self, lane: u32, key: u8, at: Location) -> Option<()> {
        let guard = &pin();
        loop {
            let Some(entry) = self.entry(guard, key, at) else { return Some(()) };
            let old = self.read(at);
            let space = self.append(guard, (lane, Purpose::Move), old).ok()?;
            if entry.move_to(space.location()).is_err() {
                continue; // the copy is dropped, and becomes padding
            }
            space.commit();
            self.bury(at, old.rblocks);
            return Some(());
        }
    }

    /// As eviction: takes the record at `at` out of the index, if that still names it.
    pub fn evict(&self, key: u8, at: Location) {
        let guard = &pin();
        while let Some(entry) = self.entry(guard, key, at) {
            let old = self.read(at);
            self.forgotten.note(u64::from(old.version).into());
            if entry.remove().is_ok() {
                self.bury(at, old.rblocks);
            }
        }
    }

    fn entry<'g>(&'g self, guard: &'g Guard, key: u8, at: Location) -> Option<Occupied<'g>> {
        let place = self.index.search_occupied(guard, &Keys(self), hash(key), |found| found == at);
        place.expect("memory")
    }

    /// The records of a wblock that are complete, each with its place.
    pub fn records(&self, wblock: WblockId, until: u32) -> Vec<(Location, Found)> {
        let geometry = self.stripes.geometry();
        let mut records = Vec::new();
        let mut at = WBLOCK_HEADER_RBLOCKS;
        let until = self.stripes.walk(wblock, at, until).complete;
        while at < until {
            let location = geometry.location(wblock, at);
            let word = self.stripes.word_of(location);
            if !word.is_padding() {
                records.push((location, self.read(location)));
            }
            at += word.rblocks().map_or(1, NonZeroU32::get);
        }
        records
    }

    pub fn live_rblocks(&self) -> u64 {
        let wblocks = 0..self.stripes.geometry().wblocks();
        wblocks.map(|at| self.stripes.live_rblocks(WblockId(at))).sum()
    }

    /// When nobody is at work any more: what is live is what can be found, and adds up.
    pub fn check_accounts(&self) {
        let guard = pin();
        let found: Vec<Found> = (0..KEYS).filter_map(|key| self.find(&guard, key)).collect();
        let newest = *self.newest.lock().expect("no model panics with it");
        for found in &found {
            let newest = newest.get(usize::from(found.key));
            assert_eq!(Some(&found.version), newest, "the newest version of key {}", found.key);
        }
        let live: u64 = found.iter().map(|found| u64::from(found.rblocks)).sum();
        assert_eq!(self.live_rblocks(), live, "each superseded record was buried once: {found:?}");
    }
}
