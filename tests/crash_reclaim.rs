//! Invariants 4 and 5 while space comes back: whatever a power cut leaves of the shadow, nothing
//! durable is lost, and what was deleted, has expired or was overwritten does not come back, though
//! the wblocks that held it, and those that held what killed it, are emptied, freed and reused.
//!
//! A store runs on the simulated disk, with its pump and its reclaimers in the test's hands. Its
//! keys are of three kinds: cold ones, which keep the wblocks alive that they were first put to;
//! hot ones, whose wblocks empty themselves; and mortal ones, which are put with an expiry, deleted
//! and put again, also with versions that only a dropped tombstone lets in. Every event of the
//! disk's log is a crash point, as in `crash_sim`, and each state is opened by a clock that may
//! have been turned back; some are then swept, raided and emptied for a while, and must still say
//! the same, also after another cut. One of the states becomes the disk of the next generation.
//!
//! `BRINDLE_CRASH_STATES=N` checks about N states in each test; `BRINDLE_SEED=S` starts at run S.
//! A failure prints the run, and how to replay it; sweeps and raids heed the machine's time, so
//! that a replay may take a few tries.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "helpers of tests"
)]

mod common;
#[expect(dead_code, reason = "no shadow rots here")]
#[path = "common/oracle.rs"]
mod oracle;

use brindle::format::{
    Flags, Found, Geometry, HeaderState, SUPERBLOCK_AREA_BYTES, SUPERBLOCK_BYTES,
    SUPERBLOCK_COPY_B_OFFSET, Sequence, StoreId, StoreKey, Superblock, WblockHeader, WblockHome,
    WblockId, WblockPlace, choose, scan_wblock,
};
use brindle::testing::{
    Clock, FileIndex, Harness, ManualClock, Pace, Pump, Reclaimer, SimConfig, SimDisk,
};
use brindle::{Config, DeleteOptions, Error, PutOptions, Store, Version};
use common::{Random, WBLOCK_BYTES, config, disk};
use oracle::{Contents, Life, Log, contents};
use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

/// Where the clock starts: microseconds since 1970.
const START_US: u64 = 1_700_000_000_000_000;
/// How long a record with an expiry lives at most, and how far the clock is turned back.
const TTL_MAX_US: u64 = 3_000;
/// Longer than the sweep interval, which is the shortest there is.
const SWEEP: Duration = Duration::from_micros(1_100);

/// The shape of a run.
#[derive(Clone, Copy, Debug)]
struct Shape {
    stripes: u32,
    /// Of each stripe.
    wblocks: u32,
    cold: u64,
    hot: u64,
    mortal: u64,
    value_bytes_max: u64,
    /// Calls before the first generation, of which no crash is checked.
    calls_before: u64,
    /// Calls of one generation.
    calls: u64,
    generations: u32,
    lwm_pct: &'static [u8],
    lazy_sync: bool,
    /// Of 16 calls for a mortal key, how many put it with a version that a dropped tombstone may
    /// have had.
    low_puts: u64,
}

const MOVES: Shape = Shape {
    stripes: 1,
    wblocks: 12,
    cold: 25,
    hot: 8,
    mortal: 8,
    value_bytes_max: 9_000,
    calls_before: 300,
    calls: 70,
    generations: 3,
    lwm_pct: &[99, 99, 60, 20],
    lazy_sync: false,
    low_puts: 2,
};

const OVERWRITES: Shape =
    Shape { wblocks: 10, cold: 1, hot: 6, mortal: 5, lwm_pct: &[1], calls_before: 200, ..MOVES };

const FORGETS: Shape = Shape { mortal: 24, cold: 20, lwm_pct: &[30, 50, 99], low_puts: 8, ..MOVES };

/// What happened in the runs of a test: all of it must, or the test says nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Wblocks given back that had emptied themselves, and those out of which records were moved.
    self_emptied: u64,
    emptied: u64,
    moved: u64,
    /// Wblocks found on the shadow in a later life than before.
    reused: u64,
    expired: u64,
    dropped: u64,
    /// Puts that a dropped tombstone would have refused.
    forgotten: u64,
}

const LEAST: Tally = Tally {
    self_emptied: 0,
    emptied: 0,
    moved: 0,
    reused: 0,
    expired: 0,
    dropped: 0,
    forgotten: 1,
};

const LEAST_OF_MOVES: Tally =
    Tally { emptied: 10, moved: 50, reused: 10, expired: 5, dropped: 10, ..LEAST };

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.self_emptied += other.self_emptied;
        self.emptied += other.emptied;
        self.moved += other.moved;
        self.reused += other.reused;
        self.expired += other.expired;
        self.dropped += other.dropped;
        self.forgotten += other.forgotten;
    }
}

/// An open store with everything that drives it.
struct Driven {
    store: Store,
    pump: Pump,
    reclaimers: Vec<Reclaimer>,
    clock: Arc<ManualClock>,
}

impl Driven {
    fn open(disk: &SimDisk, config: &Config, time_us: u64) -> Self {
        let clock = Arc::new(ManualClock::new(time_us));
        let told: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let harness = Harness { clock: Some(told), ..Harness::default() };
        let opened = harness.open_driven(config.clone(), Arc::new(disk.clone()));
        let (store, pump, reclaimers) = opened.expect("opens");
        Self { store, pump, reclaimers, clock }
    }

    fn now_us(&self) -> u64 {
        self.clock.coarse_us()
    }

    /// Polls the reclaimers until they have nothing to do at once, or `polls` times. True: they
    /// wait for nothing, either.
    fn reclaim(&mut self, polls: u32) -> bool {
        (0..polls).any(|_| {
            let paces: Vec<Pace> = self.reclaimers.iter_mut().map(Reclaimer::poll).collect();
            paces.iter().all(|pace| !matches!(pace, Pace::Now | Pace::Soon))
        })
    }

    /// Lets the pump and the reclaimers work on each other's requests until they are through, or
    /// for some rounds.
    fn settle(&mut self) {
        for _ in 0..12 {
            std::thread::sleep(SWEEP);
            if self.reclaim(40) {
                break;
            }
            self.pump.poll(false).expect("no faults");
        }
    }

    /// What reclaim has done in this life.
    fn tally(&self) -> Tally {
        let done = self.store.stats().reclaim;
        Tally {
            self_emptied: done.freed_wblocks.saturating_sub(done.emptied_wblocks),
            emptied: done.emptied_wblocks,
            moved: done.moved_records,
            expired: done.expired,
            dropped: done.tombstones_dropped,
            ..Tally::default()
        }
    }
}

/// A store under test, its disk and its log.
struct Run {
    shape: Shape,
    config: Config,
    disk: SimDisk,
    driven: Driven,
    log: Log,
    random: Random,
    time_us: u64,
    /// Cold keys are put, or hot ones: so that some wblocks live long and others do not.
    is_cold: bool,
    /// The version of each key's last delete.
    deleted: BTreeMap<Vec<u8>, u64>,
    /// The sequence in which each wblock was last found on the shadow.
    lives: BTreeMap<WblockId, Sequence>,
    tally: Tally,
}

fn names(shape: &Shape) -> Vec<Vec<u8>> {
    let of = |kind, count| (0..count).map(move |number| format!("{kind}-{number}").into_bytes());
    of("cold", shape.cold).chain(of("hot", shape.hot)).chain(of("mortal", shape.mortal)).collect()
}

impl Run {
    fn new(shape: Shape, seed: u64) -> Self {
        let mut random = Random(seed);
        let blank = disk(shape.stripes, shape.wblocks);
        let images = (0..shape.stripes).map(|file| blank.image(FileIndex(file))).collect();
        let order_seed = (random.below(2) == 0).then_some(seed);
        let disk = SimDisk::from_images(images, SimConfig { order_seed, ..SimConfig::default() });
        let lwm = usize::try_from(random.below(shape.lwm_pct.len() as u64)).unwrap();
        let config = config(shape.stripes, shape.wblocks)
            .disable_odsync(shape.lazy_sync)
            .flush_max_ms(1000 * random.below(2))
            .flush_size(4096 << (2 + random.below(3)))
            .sweep_interval(Duration::from_millis(1))
            .tombstone_grace(Duration::ZERO)
            .defrag_lwm_pct(shape.lwm_pct[lwm])
            .defrag_sleep(Duration::ZERO)
            .stop_writes_used_pct(0)
            .stop_writes_avail_pct(0);
        let log = Log::new(names(&shape), &Contents::new());
        let driven = Driven::open(&disk, &config, START_US);
        let mut run = Self {
            shape,
            config,
            disk,
            driven,
            log,
            random,
            time_us: START_US,
            is_cold: true,
            deleted: BTreeMap::new(),
            lives: BTreeMap::new(),
            tally: Tally::default(),
        };
        for number in 0..shape.cold {
            let (key, value) = (format!("cold-{number}").into_bytes(), run.value());
            run.put(&key, value, &PutOptions::new(), None);
        }
        for _ in 0..shape.calls_before {
            run.step();
        }
        run.barrier();
        run.check_shadow().unwrap();
        run.disk.forget_past();
        run.log = run.log.rebased();
        run
    }

    fn chance(&mut self, one_of: u64) -> bool {
        self.random.below(one_of) == 0
    }

    /// Some calls of the store or what drives it, under the stripe of one of the cores.
    fn step(&mut self) {
        self.time_us += self.random.below(200);
        self.driven.clock.set(self.time_us);
        match self.random.below(24) {
            0 => self.barrier(),
            1 | 2 => drop(self.driven.pump.poll(false).expect("no faults")),
            3 => drop(self.driven.pump.poll(true).expect("no faults")),
            4..=6 => {
                self.driven.reclaim(1);
            }
            7 | 8 => self.reclaim(),
            9 if self.chance(3) => self.reopen(),
            _ => {
                let stripe = self.random.below(self.shape.stripes.into());
                let store = self.driven.store.clone();
                let bound = store.bind_thread(usize::try_from(stripe).unwrap()).unwrap();
                self.call();
                drop(bound);
            }
        }
    }

    fn call(&mut self) {
        let value = self.value();
        if self.chance(16) {
            self.is_cold = !self.is_cold;
        }
        // Now and then a cold key dies, too, and leaves an old copy among the living.
        let (is_mortal, is_cold) = (self.chance(2), self.shape.cold > 1 && self.chance(4));
        let kind = if is_mortal && !is_cold { "mortal" } else { self.kind() };
        let count = match kind {
            "cold" => self.shape.cold,
            "hot" => self.shape.hot,
            _ => self.shape.mortal,
        };
        let key = format!("{kind}-{}", self.random.below(count)).into_bytes();
        if is_mortal && kind != "hot" {
            self.call_mortal(&key, value);
        } else {
            self.put(&key, value, &PutOptions::new(), None);
        }
    }

    fn kind(&self) -> &'static str {
        if self.is_cold { "cold" } else { "hot" }
    }

    fn call_mortal(&mut self, key: &[u8], value: Vec<u8>) {
        if self.random.below(16) < self.shape.low_puts {
            return self.put_low(key, value);
        }
        match self.random.below(14) {
            0..=3 => self.put(key, value, &PutOptions::new(), None),
            4..=8 => {
                let ttl_us = 1 + self.random.below(TTL_MAX_US);
                let options = PutOptions::new().ttl(Duration::from_micros(ttl_us));
                self.put(key, value, &options, Some(self.time_us + ttl_us));
            }
            9..=11 => self.delete(key, None),
            _ => {
                // Sometimes above what is there, and sometimes not.
                let last = self.deleted.get(key).copied().unwrap_or(self.time_us);
                let low = self.chance(2).then_some(last - self.random.below(50));
                let version = low.unwrap_or(self.time_us + self.random.below(300));
                self.delete(key, Some(version));
            }
        }
    }

    /// Puts a dead key with a version about that of its last delete; has a key die that is not.
    fn put_low(&mut self, key: &[u8], value: Vec<u8>) {
        if self.driven.store.contains_key(key) {
            return self.delete(key, None);
        }
        let Some(last) = self.deleted.get(key).copied() else {
            return self.delete(key, Some(self.time_us));
        };
        if self.chance(2) {
            self.reclaim();
        }
        let version = Version::from(last + 10 - self.random.below(100));
        self.put(key, value, &PutOptions::new().version(version), None);
    }

    fn value(&mut self) -> Vec<u8> {
        let bytes = match self.random.below(8) {
            0 => 0,
            _ => self.random.below(self.shape.value_bytes_max),
        };
        self.random.bytes(usize::try_from(bytes).unwrap())
    }

    fn put(&mut self, key: &[u8], value: Vec<u8>, options: &PutOptions, expires_us: Option<u64>) {
        match self.driven.store.put_with(key, &value, options) {
            Ok(version) => {
                let last = self.deleted.get(key).copied().unwrap_or(0);
                self.tally.forgotten += u64::from(u64::from(version) < last);
                let seen = Some(Life { value, version, expires_us });
                self.log.note(key, self.disk.crash_points(), seen);
            }
            Err(Error::VersionConflict { .. }) => {}
            // Reclaim is asked for room later, by chance.
            Err(Error::OutOfSpace) => self.make_room(),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn make_room(&mut self) {
        if self.chance(2) {
            self.barrier();
        }
        self.reclaim();
    }

    fn delete(&mut self, key: &[u8], version: Option<u64>) {
        let before = self.driven.store.get(key).map(|record| record.version());
        let options = version.map_or(DeleteOptions::new(), |version| {
            DeleteOptions::new().version(Version::from(version))
        });
        match self.driven.store.delete_with(key, &options) {
            // Nothing was there, and nothing was written.
            Ok(false) if version.is_none() => {}
            Ok(_) => {
                let next = before.map_or(0, |before| u64::from(before) + 1);
                self.deleted.insert(key.to_vec(), version.unwrap_or(self.time_us.max(next)));
                self.log.note(key, self.disk.crash_points(), None);
            }
            Err(Error::VersionConflict { .. }) => {}
            Err(Error::OutOfSpace) => self.make_room(),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn barrier(&mut self) {
        let covered = self.log.writes();
        self.driven.pump.barrier().expect("no faults");
        self.log.note_barrier(covered, self.disk.crash_points());
    }

    /// Sweeps, raids and moves, and checks that it shows to nobody.
    fn reclaim(&mut self) {
        std::thread::sleep(SWEEP);
        if self.chance(2) {
            self.driven.reclaim(40);
        } else {
            self.driven.settle();
            self.check_shadow().unwrap();
        }
        let current = self.log.current(self.time_us);
        assert_eq!(contents(&self.driven.store), current, "after reclaim");
        if self.driven.store.len() == current.len() {
            // Everything that had expired is swept, and so dead for good.
            let all = self.log.current(0);
            let expired = all.values().filter_map(|life| life.expires_us);
            if let Some(last) = expired.filter(|expires_us| *expires_us < self.time_us).max() {
                self.log.note_floor(self.disk.crash_points(), last + 1);
            }
        }
    }

    /// Ends the process, in order or not, and starts it anew on the same disk; no power is cut.
    fn reopen(&mut self) {
        let is_clean = self.chance(2);
        if is_clean {
            self.barrier();
        }
        self.tally += self.driven.tally();
        let time_us = self.time_us + 100 - self.random.below(TTL_MAX_US);
        self.driven.store.clone().close().expect("without a thread there is nothing to fail");
        // Another store, elsewhere, for the moment in which there is none.
        let spare = Driven::open(&disk(1, 4), &config(1, 4), START_US);
        let ended = std::mem::replace(&mut self.driven, spare);
        drop((ended.store, ended.reclaimers));
        if is_clean {
            ended.pump.close();
            self.log.note_floor(self.disk.crash_points(), self.time_us);
        } else {
            drop(ended.pump);
        }
        let ended_at = self.disk.crash_points();
        self.driven = Driven::open(&self.disk, &self.config, time_us);
        self.time_us = self.driven.now_us();
        let found = contents(&self.driven.store);
        let stats = self.driven.store.stats();
        assert_eq!((stats.load.damaged(), stats.load.was_clean), (0, is_clean));
        self.log.check(&found, ended_at, self.time_us).expect("ended without a power cut");
        // Opening syncs every member: what a cold start has read is durable.
        self.log.reopened(&found, (ended_at, self.disk.crash_points()), self.time_us);
    }

    /// What of the shadow tells that reclaim keeps its rules: every moved record is an heir. Counts
    /// the wblocks that were reused since it was last looked at.
    fn check_shadow(&mut self) -> Result<(), String> {
        for file in 0..self.shape.stripes {
            let image = self.disk.image(FileIndex(file));
            let copy_b = &image[SUPERBLOCK_COPY_B_OFFSET as usize..];
            let found = choose(&image[..SUPERBLOCK_BYTES], &copy_b[..SUPERBLOCK_BYTES]);
            let Found::Superblock { superblock: Superblock { store_id, geometry, .. }, .. } = found
            else {
                return Err(format!("no superblock: {found:?}"));
            };
            let wblocks = image[SUPERBLOCK_AREA_BYTES as usize..].chunks(WBLOCK_BYTES as usize);
            for (wblock, bytes) in (file * self.shape.wblocks..).map(WblockId).zip(wblocks) {
                let wblock_bytes = WBLOCK_BYTES;
                let home = WblockHome { store_id, stripe: file, wblock, wblock_bytes };
                let HeaderState::Valid { header, .. } = WblockHeader::decode(bytes, &home) else {
                    continue;
                };
                check_heirs(bytes, &header, store_id, geometry)?;
                let before = self.lives.insert(wblock, header.sequence);
                self.tally.reused += u64::from(before.is_some_and(|life| life < header.sequence));
            }
        }
        Ok(())
    }

    /// The next generation: `disk`, on which a store finds `contents`.
    fn rebase(&mut self, crashed: Crashed) {
        self.tally += self.driven.tally();
        let Crashed { disk, contents: found, now_us } = crashed;
        disk.forget_past();
        self.log = Log::new(names(&self.shape), &found);
        self.log.note_floor(0, now_us);
        self.disk = disk;
        self.driven = Driven::open(&self.disk, &self.config, now_us);
        self.time_us = now_us;
    }
}

/// A state of a disk after a power cut, opened and looked at.
struct Crashed {
    disk: SimDisk,
    contents: Contents,
    now_us: u64,
}

/// Opens the disk after a crash, by a clock at `time_us`, and holds it to the log. Then, by the
/// seed: opens it once more after another cut, or reclaims for a while and does so then.
fn check_crash(run: &Run, point: usize, seed: u64, time_us: u64) -> Result<Crashed, String> {
    let disk = run.disk.crash_at(point, seed);
    let mut driven = Driven::open(&disk, &run.config, time_us);
    let now_us = driven.now_us();
    let found = contents(&driven.store);
    run.log.check(&found, point, now_us)?;
    let load = driven.store.stats().load;
    if load.damaged() > 0 {
        return Err(format!("torn writes were taken for damage: {:?}", load.rejected));
    }
    let is_reclaimed = (seed / 8).is_multiple_of(4);
    if is_reclaimed {
        driven.settle();
        if contents(&driven.store) != found {
            return Err("reclaim after the crash changed what is there".into());
        }
    }
    drop(driven);
    if is_reclaimed || seed / 8 % 8 == 1 {
        for nested in [0, disk.crash_points() / 3, disk.crash_points() / 2, usize::MAX] {
            let again = disk.crash_at(nested, seed / 5 + nested as u64 % 13);
            let driven = Driven::open(&again, &run.config, now_us);
            if contents(&driven.store) != found {
                return Err(format!("another cold start, cut at {nested}, found other records"));
            }
        }
    }
    Ok(Crashed { disk, contents: found, now_us })
}

fn check_heirs(
    wblock: &[u8],
    header: &WblockHeader,
    store_id: StoreId,
    geometry: Geometry,
) -> Result<(), String> {
    let place = WblockPlace {
        store_key: StoreKey::of(&store_id),
        first_location: geometry.location(header.home.wblock, 0),
        header_sequence: header.sequence,
    };
    let mut wrong = Vec::new();
    scan_wblock(wblock, place, |_, view| {
        if view.flags().contains(Flags::MOVED) && !view.flags().contains(Flags::HEIR) {
            wrong.push(view.key().escape_ascii().to_string());
        }
    });
    if wrong.is_empty() { Ok(()) } else { Err(format!("moved, and no heirs: {wrong:?}")) }
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Cuts the power at every event since the run was rebased. How many states that made, and one of
/// them.
fn check_generation(run: &mut Run, replay: &str) -> (u64, Crashed) {
    let points = run.disk.crash_points() as u64 + 1;
    let next = run.random.below(points);
    run.check_shadow().unwrap_or_else(|wrong| panic!("{replay}: {wrong}"));
    let mut chosen = None;
    // Two seeds a point: every manner of the disk comes up within four points.
    for state in 0..2 * points {
        let point = usize::try_from(state / 2).unwrap();
        let crash = (run.random.below(1 << 20) << 3) + state % 8;
        let back_us = run.random.below(3) * TTL_MAX_US;
        let crashed =
            check_crash(run, point, crash, run.time_us - back_us).unwrap_or_else(|wrong| {
                panic!("{replay}, cut at {point}, seed {crash}, {back_us} us back: {wrong}")
            });
        if state / 2 == next {
            chosen = Some(crashed);
        }
    }
    (2 * points, chosen.expect("one of the points"))
}

/// Runs of `shape`, until about `states` crashes have been checked; what happened in them.
fn check_crashes(shape: Shape, states: u64) -> Tally {
    let states = from_env("BRINDLE_CRASH_STATES").unwrap_or(states);
    let first = from_env("BRINDLE_SEED").unwrap_or(1);
    let (mut checked, mut seed) = (0, first);
    let mut tally = Tally::default();
    while checked < states {
        let replay = format!("BRINDLE_SEED={seed} BRINDLE_CRASH_STATES=1, {shape:?}");
        let mut run = Run::new(shape, seed);
        for generation in 0..shape.generations {
            for _ in 0..shape.calls {
                run.step();
            }
            let replay = format!("{replay}: generation {generation}");
            let (states, chosen) = check_generation(&mut run, &replay);
            checked += states;
            run.rebase(chosen);
        }
        tally += run.tally;
        seed += 1;
    }
    println!("{checked} crash states, seeds {first} to {}, {shape:?}: {tally:?}", seed - 1);
    tally
}

/// Where all that is claimed was not met, nothing was shown.
fn assert_met(tally: &Tally, least: &Tally) {
    if from_env("BRINDLE_CRASH_STATES").is_some() {
        return;
    }
    let figures = |tally: &Tally| {
        let Tally { self_emptied, emptied, moved, reused, expired, dropped, forgotten } = *tally;
        [self_emptied, emptied, moved, reused, expired, dropped, forgotten]
    };
    let met = figures(tally).into_iter().zip(figures(least)).all(|(met, least)| met >= least);
    assert!(met, "{tally:?}, where {least:?} was to be met");
}

#[test]
fn a_power_cut_brings_nothing_back_while_overwritten_wblocks_are_reused() {
    let tally = check_crashes(OVERWRITES, 500);
    let least = Tally { self_emptied: 10, reused: 10, expired: 5, dropped: 5, ..LEAST };
    assert_met(&tally, &least);
}

#[test]
fn a_power_cut_brings_nothing_back_while_records_are_moved() {
    let tally = check_crashes(MOVES, 500);
    assert_met(&tally, &LEAST_OF_MOVES);
}

#[test]
fn a_power_cut_brings_nothing_back_over_several_stripes() {
    let tally = check_crashes(Shape { stripes: 2, wblocks: 7, ..MOVES }, 500);
    assert_met(&tally, &LEAST_OF_MOVES);
}

#[test]
fn a_power_cut_brings_nothing_back_over_what_was_forgotten() {
    let tally = check_crashes(FORGETS, 500);
    let least = Tally { emptied: 10, moved: 50, reused: 10, dropped: 10, forgotten: 8, ..LEAST };
    assert_met(&tally, &least);
}

#[test]
fn a_power_cut_brings_nothing_back_where_only_barriers_sync() {
    let tally = check_crashes(Shape { lazy_sync: true, ..MOVES }, 500);
    assert_met(&tally, &LEAST_OF_MOVES);
}
