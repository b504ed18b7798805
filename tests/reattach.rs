//! Moving a store to another shadow while it runs: nothing durable is lost wherever the power is
//! cut, a half copy is never taken for a store, reads and writes go on, and it is a way out for a
//! store whose shadow is gone.
//!
//! The simulated tests have two disks, an old and a new one, with the pump and the reclaimers in
//! the test's hands. Each event of either disk is a crash point: then either the new disk is whole,
//! and says what was promised, or it is refused, and the old one says so.
//!
//! `BRINDLE_CRASH_STATES=N` checks about N states in each test; `BRINDLE_SEED=S` starts at run S.
//! A failure prints the run, and how to replay it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

mod common;
#[expect(dead_code, reason = "nothing expires here")]
#[path = "common/oracle.rs"]
mod oracle;

use brindle::format::{
    Census, CopyName, Found, SUPERBLOCK_BYTES, SUPERBLOCK_COPY_B_OFFSET, choose,
};
use brindle::testing::{
    Clock, Fault, FaultOn, FileIndex, Harness, ManualClock, Members, Move, Pump, Reclaimer,
    SimConfig, SimDisk, begin_move, move_to,
};
use brindle::{Config, Error, Health, OnDamage, Store};
use common::{Random, WBLOCK_BYTES, config, disk};
use oracle::{Contents, Life, Log, contents};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where the clock starts: microseconds since 1970.
const START_US: u64 = 1_700_000_000_000_000;
const KEYS: u64 = 12;
const WBLOCKS: u32 = 8;

fn name(key: u64) -> Vec<u8> {
    format!("key-{key}").into_bytes()
}

fn open(disk: &SimDisk, config: &Config) -> brindle::Result<(Store, Pump, Vec<Reclaimer>)> {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(START_US));
    let harness = Harness { clock: Some(clock), ..Harness::default() };
    harness.open_driven(config.clone(), Arc::new(disk.clone()))
}

/// The old disk during a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Old {
    Well,
    Gone,
    GoesMidway,
}

struct Run {
    config: Config,
    old: SimDisk,
    new: SimDisk,
    store: Store,
    pump: Pump,
    reclaimers: Vec<Reclaimer>,
    log: Log,
    random: Random,
    /// Events of the old and the new disk, before each call: between two, those of the new come
    /// first.
    marks: Vec<(usize, usize)>,
    /// Barriers that were asked for, with what they cover.
    tickets: Vec<(u64, usize)>,
}

impl Run {
    fn new(stripes: u32, seed: u64) -> Self {
        let (old, new) = (disk(stripes, WBLOCKS), disk(stripes, WBLOCKS));
        let config = config(stripes, WBLOCKS).defrag_lwm_pct(60);
        let (store, pump, reclaimers) = open(&old, &config).unwrap();
        let log = Log::new((0..KEYS).map(name), &Contents::new());
        let (random, marks, tickets) = (Random(seed), Vec::new(), Vec::new());
        Self { config, old, new, store, pump, reclaimers, log, random, marks, tickets }
    }

    fn event(&self) -> usize {
        self.old.crash_points() + self.new.crash_points()
    }

    fn step(&mut self) {
        self.marks.push((self.old.crash_points(), self.new.crash_points()));
        let stripes = u64::from(self.store.stats().stripes);
        let stripe = usize::try_from(self.random.below(stripes)).unwrap();
        let store = self.store.clone();
        let bound = store.bind_thread(stripe).ok();
        let key = name(self.random.below(KEYS));
        match self.random.below(20) {
            0..=7 => {
                let bytes = usize::try_from(self.random.below(9_000)).unwrap();
                let value = self.random.bytes(bytes);
                let put = self.store.put(&key, &value);
                let life = |version| Life { value, version, expires_us: None };
                self.wrote(&key, put.map(life).map(Some));
            }
            8 => {
                let deleted = self.store.delete(&key);
                self.wrote(&key, deleted.map(|_| None));
            }
            9..=11 => self.reclaimers.iter_mut().for_each(|one| {
                (0..30).for_each(|_| _ = one.poll());
            }),
            12 | 13 => self.tickets.push((self.pump.ticket(), self.log.writes())),
            14 => assert_eq!(contents(&self.store), self.log.current(START_US)),
            _ => self.poll(),
        }
        drop(bound);
    }

    fn wrote(&mut self, key: &[u8], result: brindle::Result<Option<Life>>) {
        match result {
            Ok(seen) => self.log.note(key, self.event(), seen),
            Err(Error::OutOfSpace | Error::StopWrites { .. }) => {}
            Err(Error::ShadowFailed { .. }) => assert_ne!(self.store.health(), Health::Ok),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn poll(&mut self) {
        let due = self.random.below(2) == 0;
        if self.pump.poll(due).is_ok() {
            let event = self.event();
            let (pump, log) = (&self.pump, &mut self.log);
            self.tickets.retain(|(ticket, covered)| {
                let is_durable = pump.is_durable(*ticket);
                if is_durable {
                    log.note_barrier(*covered, event);
                }
                !is_durable
            });
        }
    }

    /// From here on every event is a crash point.
    fn begin_to_record(&mut self) {
        self.pump.barrier().unwrap();
        self.tickets.clear();
        self.old.forget_past();
        self.log = self.log.rebased();
    }

    fn old_is_gone(&self) {
        for on in [FaultOn::Write, FaultOn::Read, FaultOn::Sync] {
            self.old.inject(on, 0, u64::MAX, Fault::Errno(libc::ENXIO));
        }
    }

    /// Calls until the move has ended.
    fn drive(&mut self, moving: &Move, old: Old) -> brindle::Result<()> {
        let midway = self.random.below(60);
        for call in 0.. {
            if call == midway && old == Old::GoesMidway {
                self.old_is_gone();
            }
            self.step();
            if let Some(outcome) = moving.outcome() {
                return outcome;
            }
        }
        unreachable!("a move ends")
    }

    /// Cuts the power at every event of the two disks. How many states, and in how many of them the
    /// new disk was whole.
    fn check(&mut self, replay: &str) -> (u64, u64) {
        self.marks.push((self.old.crash_points(), self.new.crash_points()));
        let (mut states, mut whole) = (0, 0);
        let marks = std::mem::take(&mut self.marks);
        for pair in marks.windows(2) {
            let ((old, new), (old_end, new_end)) = (pair[0], pair[1]);
            let of_new = (new..new_end).map(|new| (old, new));
            for (old, new) in of_new.chain((old..=old_end).map(|old| (old, new_end))) {
                let seed = (self.random.below(1 << 20) << 3) + self.random.below(8);
                let checked = self.check_one((old, new), seed);
                let is_whole = checked.unwrap_or_else(|wrong| {
                    panic!("{replay}, cut at {old} {new}, {seed}: {wrong}")
                });
                states += 1;
                whole += u64::from(is_whole);
            }
        }
        (states, whole)
    }

    fn check_one(&self, (old, new): (usize, usize), seed: u64) -> Result<bool, String> {
        let (old_disk, new_disk) = (self.old.crash_at(old, seed), self.new.crash_at(new, seed));
        let (blank, incomplete) = survey(&new_disk);
        let is_whole = blank == 0 && incomplete == 0;
        if incomplete > 0 {
            let refused = open(&new_disk, &self.config).err();
            let Some(Error::NotAShadow { found, .. }) = refused else {
                return Err(format!("a half copy was opened: {refused:?}"));
            };
            assert!(found.contains("unfinished") || found.contains("damaged"), "{found}");
        }
        let whole_disk = if is_whole { &new_disk } else { &old_disk };
        let (store, ..) = open(whole_disk, &self.config).map_err(|error| error.to_string())?;
        self.log.check(&contents(&store), old + new, START_US)?;
        let load = store.stats().load;
        if load.damaged() > 0 {
            return Err(format!("damage: {:?}", load.rejected));
        }
        Ok(is_whole)
    }
}

/// How many members of a disk are blank, and how many incomplete.
fn survey(disk: &SimDisk) -> (u32, u32) {
    let (mut blank, mut incomplete) = (0, 0);
    for file in (0..disk.count()).map(FileIndex) {
        let image = disk.image(file);
        let second = usize::try_from(SUPERBLOCK_COPY_B_OFFSET).unwrap();
        let copies = [0, second].map(|at| &image[at..at + SUPERBLOCK_BYTES]);
        match choose(copies[0], copies[1]) {
            Found::AllZero => blank += 1,
            Found::Superblock { superblock, .. } => incomplete += u32::from(superblock.incomplete),
            // The first superblock of a move was torn: nothing was written behind it.
            Found::Damaged { .. } => incomplete += 1,
            found @ (Found::Foreign { .. } | Found::NewerFormat(_)) => panic!("{found:?}"),
        }
    }
    (blank, incomplete)
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn check_moves(stripes: u32, old: Old, states: u64) {
    let states = from_env("BRINDLE_CRASH_STATES").unwrap_or(states);
    let first = from_env("BRINDLE_SEED").unwrap_or(1);
    let (mut checked, mut arrived, mut recycled, mut seed) = (0, 0, 0, first);
    while checked < states {
        let replay = format!("BRINDLE_SEED={seed} BRINDLE_CRASH_STATES=1 ({stripes}, {old:?})");
        println!("{replay}");
        let mut run = Run::new(stripes, seed);
        (0..220).for_each(|_| run.step());
        let freed = run.store.stats().reclaim.freed_wblocks;
        run.marks.clear();
        run.begin_to_record();
        (0..10).for_each(|_| run.step());
        if old == Old::Gone {
            run.old_is_gone();
            (0..run.random.below(20)).for_each(|_| run.step());
        }
        let moving = begin_move(&run.store, Arc::new(run.new.clone())).unwrap();
        run.drive(&moving, old).unwrap();
        assert_eq!(run.store.health(), Health::Ok);
        let left = run.old.crash_points();
        (0..25).for_each(|_| run.step());
        run.pump.barrier().expect("the new disk is well");
        recycled += run.store.stats().reclaim.freed_wblocks - freed;
        assert_eq!(run.old.crash_points(), left, "the old shadow was written to");
        assert_eq!(contents(&run.store), run.log.current(START_US));
        let mismatches = run.store.audit().mismatches;
        assert!(mismatches.is_empty(), "{mismatches:?}");
        let (states, whole) = run.check(&replay);
        (checked, arrived) = (checked + states, arrived + whole);
        let (store, ..) = open(&run.new.crash(0), &run.config).unwrap();
        assert_eq!(contents(&store), run.log.current(START_US), "{replay}");
        seed += 1;
    }
    let seeds = format!("seeds {first} to {}", seed - 1);
    println!("{checked} crash states, {arrived} whole, {recycled} wblocks recycled, {seeds}");
    assert!(arrived > 0 && arrived < checked, "{arrived} of {checked}");
}

#[test]
fn a_power_cut_during_a_move_loses_nothing_durable() {
    check_moves(1, Old::Well, 300);
}

#[test]
fn a_power_cut_during_a_move_loses_nothing_durable_over_several_stripes() {
    check_moves(3, Old::Well, 250);
}

#[test]
fn a_power_cut_during_a_move_off_a_lost_disk_loses_nothing_durable() {
    check_moves(1, Old::Gone, 150);
    check_moves(2, Old::Gone, 150);
}

#[test]
fn a_disk_that_is_lost_during_a_move_does_not_stop_it() {
    check_moves(1, Old::GoesMidway, 200);
}

#[test]
fn a_move_whose_new_disk_fails_leaves_the_store_where_it_was_and_may_be_made_again() {
    let first = from_env("BRINDLE_SEED").unwrap_or(1);
    for seed in first..first + 14 {
        println!("BRINDLE_SEED={seed}");
        let mut run = Run::new(2, seed);
        (0..80).for_each(|_| run.step());
        // Two members: two syncs of the first superblocks, two of the wblocks, two of the last.
        let skip = if seed % 2 == 0 { seed / 2 % 6 } else { seed * 3 / 2 };
        let on = if seed % 2 == 0 { FaultOn::Sync } else { FaultOn::Write };
        run.new.inject(on, skip, 1, Fault::Errno(libc::EIO));
        let moving = begin_move(&run.store, Arc::new(run.new.clone())).unwrap();
        let failed = run.drive(&moving, Old::Well);
        assert!(matches!(failed, Err(Error::Io { .. })), "seed {seed}: {failed:?}");
        assert_eq!(run.store.health(), Health::Ok);
        run.pump.barrier().expect("the old disk is well");
        let (store, ..) = open(&run.old.crash(seed), &run.config).unwrap();
        assert_eq!(contents(&store), run.log.current(START_US));
        drop(store);

        run.new.clear_faults();
        let again = begin_move(&run.store, Arc::new(run.new.clone())).unwrap();
        run.drive(&again, Old::Well).unwrap();
        run.pump.barrier().expect("the new disk is well");
        let (store, ..) = open(&run.new.crash(seed), &run.config).unwrap();
        assert_eq!(contents(&store), run.log.current(START_US), "seed {seed}");
    }
}

#[test]
fn a_copy_of_what_a_cold_start_found_torn_or_rotten_reads_the_same() {
    let first = from_env("BRINDLE_SEED").unwrap_or(1);
    let mut lost = 0;
    for seed in first..first + 40 {
        println!("BRINDLE_SEED={seed}");
        let mut run = Run::new(1, seed);
        (0..60).for_each(|_| run.step());
        let crashed = run.old.crash(seed);
        // Rot in some of the records, the older copies of their keys being there still.
        for _ in 0..run.random.below(6) {
            let image = crashed.image(FileIndex(0));
            let at = usize::try_from(run.random.below(image.len() as u64)).unwrap();
            if at >= 64 << 10 && image[at & !4095..][..4096].iter().any(|byte| *byte != 0) {
                crashed.flip(FileIndex(0), at, 3);
            }
        }
        let (store, mut pump, _reclaimers) = open(&crashed, &run.config).unwrap();
        lost += store.stats().load.rejected.lost_values;
        let before = contents(&store);
        let moving = begin_move(&store, Arc::new(run.new.clone())).unwrap();
        while moving.outcome().is_none() {
            pump.poll(false).unwrap();
        }
        store.put("later", "x").unwrap();
        pump.barrier().unwrap();
        for cut in 0..8 {
            let config = run.config.clone().on_damage(OnDamage::Refuse);
            let (copy, ..) =
                open(&run.new.crash(cut), &config).expect("what was damaged is mended");
            assert_eq!(copy.get("later").as_deref(), Some(&b"x"[..]));
            let mut found = contents(&copy);
            found.remove(&b"later"[..]);
            assert_eq!(found, before, "seed {seed}");
        }
        // The same of a clean end, after which nothing may be torn.
        pump.close();
        let config = run.config.clone().on_damage(OnDamage::Refuse);
        let (copy, ..) = open(&run.new.crash(0), &config).expect("closed in order, and whole");
        assert!(copy.stats().load.was_clean);
    }
    assert!(lost > 0, "no value was lost: the test says nothing");
}

/// The census of the superblock in force, of a disk of one member.
fn census(disk: &SimDisk) -> Option<Census> {
    let image = disk.image(FileIndex(0));
    let second = usize::try_from(SUPERBLOCK_COPY_B_OFFSET).unwrap();
    let copies = [0, second].map(|at| &image[at..at + SUPERBLOCK_BYTES]);
    let Found::Superblock { superblock, copy, .. } = choose(copies[0], copies[1]) else {
        panic!("no superblock")
    };
    assert!(!superblock.incomplete);
    superblock.census(copies[usize::from(copy == CopyName::B)])
}

#[test]
fn the_census_of_a_moved_store_is_of_where_it_is_now() {
    let mut checked = 0;
    for seed in 1..=6 {
        println!("BRINDLE_SEED={seed}");
        let mut run = Run::new(1, seed);
        (0..80).for_each(|_| run.step());
        run.pump.barrier().unwrap();
        let config = run.config.clone().on_damage(OnDamage::Refuse);
        let Run { config: lenient, old, new, store, pump, reclaimers, .. } = run;
        store.close().unwrap();
        drop(reclaimers);
        pump.close();
        assert!(census(&old).is_some());
        // A header that cannot be read, and a last sector that reads as zeros, are given up.
        let mut image = old.image(FileIndex(0));
        let starts: Vec<_> = ((64 << 10)..image.len()).step_by(WBLOCK_BYTES as usize).collect();
        let used = |image: &[u8], at: usize| image[at] != 0 && image[at + 10] & 1 == 0;
        let hurt: Vec<_> = starts.iter().copied().filter(|at| used(&image, *at)).take(2).collect();
        image[hurt[0]..hurt[0] + 128].fill(0xEE);
        let mut sectors = (hurt[1]..hurt[1] + WBLOCK_BYTES as usize).step_by(4096);
        let is_written = |at: &usize| image[*at..*at + 4096].iter().any(|byte| *byte != 0);
        let last = sectors.rfind(is_written).unwrap();
        image[last..last + 4096].fill(0);
        let hurt = SimDisk::from_images(vec![image], SimConfig::default());
        let (store, mut pump, reclaimers) = open(&hurt, &lenient).unwrap();
        assert!(store.stats().load.damaged() >= 2, "{:?}", store.stats().load);
        let moving = begin_move(&store, Arc::new(new.clone())).unwrap();
        while moving.outcome().is_none() {
            pump.poll(false).unwrap();
        }
        assert_eq!(census(&new), None, "there is none before an orderly close");
        match store.put("later", "x") {
            Ok(_) | Err(Error::OutOfSpace) => {}
            Err(other) => panic!("{other:?}"),
        }
        pump.barrier().unwrap();
        assert_eq!(census(&new), None);
        drop(open(&new.crash(seed), &config).expect("nothing is damaged without a census"));
        let before = contents(&store);
        store.close().unwrap();
        drop(reclaimers);
        pump.close();
        assert!(census(&new).is_some());
        let image = new.image(FileIndex(0));
        let sound = SimDisk::from_images(vec![image.clone()], SimConfig::default());
        let (store, ..) = open(&sound, &config).expect("all is as the census says");
        assert_eq!(contents(&store), before);
        for at in starts {
            let mut hurt = image.clone();
            hurt[at..at + 4096].fill(0);
            let hurt = SimDisk::from_images(vec![hurt], SimConfig::default());
            let (store, ..) = open(&hurt, &lenient).unwrap();
            let is_missing = u64::from(used(&image, at));
            assert_eq!(store.stats().load.rejected.missing_wblocks, is_missing, "{at}");
            checked += is_missing;
        }
    }
    assert!(checked > 6, "{checked}");
}

/// A small store on files.
fn on_files(dir: &std::path::Path) -> Config {
    config(2, 16).shadow_dir(dir)
}

#[test]
fn reads_and_writes_go_on_while_a_store_moves_and_the_copy_is_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old");
    let store = Store::open(on_files(&old)).unwrap();
    for key in 0..200_u64 {
        store.put(key.to_le_bytes(), vec![1; 1_000]).unwrap();
    }
    let places = ["b", "c/d", "e"].map(|place| dir.path().join(place));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (stop, store) = (&stop, &store);
        let writer = scope.spawn(move || {
            let mut round = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                for key in 0..50_u64 {
                    store.put(key.to_le_bytes(), round.to_le_bytes()).unwrap();
                }
                store.flush().unwrap();
            }
            round
        });
        let reader = scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for key in 0..200_u64 {
                    assert!(store.get(key.to_le_bytes()).is_some(), "{key}");
                }
            }
        });
        for place in &places {
            store.reattach_shadow(place).unwrap();
            assert_eq!(store.health(), Health::Ok);
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        let round = writer.join().unwrap();
        for key in 0..50_u64 {
            assert_eq!(store.get(key.to_le_bytes()).as_deref(), Some(&round.to_le_bytes()[..]));
        }
    });
    let (config, before) = (store.config(), contents(&store));
    store.close().unwrap();
    // What it left behind is a store, too, of an earlier time.
    assert!(Store::open(on_files(&old)).unwrap().len() == 200);
    let store = Store::open(config).unwrap();
    assert_eq!(contents(&store), before);
    assert!(store.stats().load.was_clean);
}

#[test]
fn a_store_whose_disk_is_gone_goes_on_in_another_place() {
    let dir = tempfile::tempdir().unwrap();
    let gone = disk(2, 16);
    let config = config(2, 16).stop_writes_avail_pct(0);
    let store = Harness::default().open_on(config.clone(), Arc::new(gone.clone())).unwrap();
    store.put("durable", "1").unwrap();
    store.flush().unwrap();
    for on in [FaultOn::Write, FaultOn::Read, FaultOn::Sync] {
        gone.inject(on, 0, u64::MAX, Fault::Errno(libc::ENODEV));
    }
    store.put("in memory", "2").unwrap();
    assert!(store.flush().is_err());
    assert!(matches!(store.health(), Health::ShadowFailed { .. }));
    assert!(matches!(store.put("refused", "3"), Err(Error::ShadowFailed { .. })));

    let place = dir.path().join("place");
    store.reattach_shadow(&place).unwrap();
    assert_eq!(store.health(), Health::Ok);
    store.put("again", "4").unwrap();
    store.flush().unwrap();
    let before = contents(&store);
    store.close().unwrap();
    let store = Store::open(config.shadow_dir(place)).unwrap();
    assert_eq!(contents(&store), before);
    assert_eq!(store.len(), 3);
}

#[test]
fn a_move_that_cannot_be_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (old, place) = (dir.path().join("old"), dir.path().join("place"));
    let memory = Store::open(config(1, 4)).unwrap();
    let refused = memory.reattach_shadow(&place);
    assert!(
        matches!(&refused, Err(Error::Config { key, .. }) if key == "shadow_dir"),
        "{refused:?}"
    );

    let store = Store::open(on_files(&old)).unwrap();
    let refused = store.reattach_shadow(&old);
    assert!(matches!(refused, Err(Error::Locked { .. })), "its own: {refused:?}");
    let other = dir.path().join("other");
    Store::open(on_files(&other)).unwrap().close().unwrap();
    let before = fs::read(other.join("stripe-000.shadow")).unwrap();
    let refused = store.reattach_shadow(&other);
    assert!(matches!(refused, Err(Error::NotAShadow { .. })), "another store's: {refused:?}");
    assert!(fs::read(other.join("stripe-000.shadow")).unwrap() == before, "it was touched");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("stripe-000.shadow"), "a letter to my aunt").unwrap();
    let refused = store.reattach_shadow(&place);
    assert!(matches!(refused, Err(Error::NotAShadow { .. })), "{refused:?}");
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1, "nothing was left there");
    let refused = store.reattach_shadow_devices([place.join("stripe-000.shadow")]);
    assert!(matches!(refused, Err(Error::Config { key, .. }) if key == "shadow_devices"));
    store.put("key", "value").unwrap();
    store.flush().unwrap();
    store.clone().close().unwrap();
    assert!(matches!(store.reattach_shadow(dir.path().join("new")), Err(Error::Closed)));
    assert!(!dir.path().join("new").exists());
}

#[test]
fn members_of_two_places_of_one_store_are_not_mixed() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let store = Store::open(on_files(&old)).unwrap();
    store.put("key", "value").unwrap();
    let devices = ["0", "1"].map(|stripe| new.join(stripe));
    fs::create_dir(&new).unwrap();
    for path in &devices {
        fs::write(path, "").unwrap();
    }
    store.reattach_shadow_devices(&devices).unwrap();
    store.close().unwrap();
    let mixed = [old.join("stripe-000.shadow"), devices[1].clone()];
    let refused = Store::open(config(2, 16).shadow_devices(mixed));
    assert!(matches!(refused, Err(Error::ShadowMismatch { .. })), "{refused:?}");
    let store = Store::open(config(2, 16).shadow_devices(devices)).unwrap();
    assert_eq!(store.get("key").as_deref(), Some(&b"value"[..]));
}

#[test]
fn a_target_of_which_a_crash_left_a_part_of_the_first_superblock_can_be_moved_to() {
    let (store, mut pump) =
        Harness::default().open_pumped(config(1, 6), Arc::new(disk(1, 6))).unwrap();
    store.put("key", "value").unwrap();
    pump.barrier().unwrap();
    let to = disk(1, 6);
    let moving = begin_move(&store, Arc::new(to.clone())).unwrap();
    pump.poll(false).unwrap();
    assert!(moving.outcome().is_none(), "it has begun, and not ended");
    // The first superblock is written, and synced.
    let (mut told, mut torn) = (0, 0);
    for (point, seed) in (0..=4).flat_map(|point| (0..64).map(move |seed| (point, seed))) {
        let left = to.crash_at(point, seed);
        if let Err(error) = Harness::default().open_pumped(config(1, 6), Arc::new(left.clone())) {
            let text = error.to_string();
            assert!(text.contains("whole where it was before"), "{point}, {seed}: {text}");
            told += 1;
            torn += u32::from(text.contains("cut short"));
        }
        // Only asked for: the other move goes on.
        let again = begin_move(&store, Arc::new(to.crash_at(point, seed)));
        assert!(again.is_ok(), "cut at {point}, {seed}: {again:?}");
    }
    assert!(told > torn && torn > 0, "{told} whole or torn, {torn} torn");
    let other = Harness::default().open_pumped(config(1, 6), Arc::new(disk(1, 6))).unwrap().0;
    let refused = (0..64).filter(|seed| {
        let left = Arc::new(to.crash_at(2, *seed));
        matches!(begin_move(&other, left), Err(Error::NotAShadow { .. }))
    });
    assert!(refused.count() > 0, "of another store it is not written over");
}

#[test]
fn a_device_that_hangs_during_a_move_holds_up_no_reader_and_puts_for_a_while_only() {
    let (old, new) = (disk(1, 32), disk(1, 32));
    let wait = Duration::from_millis(50);
    let config = config(1, 32)
        .flush_deadline(wait)
        .close_deadline(Duration::from_secs(20))
        .overload_wait(wait)
        .max_write_cache(256 << 10)
        .flush_max_ms(1);
    let store = Harness::default().open_on(config, Arc::new(old.clone())).unwrap();
    store.put("key", "value").unwrap();
    while store.flush().is_err() {}
    old.inject(FaultOn::Sync, 0, u64::MAX, Fault::Stall);
    store.put("key", "newer").unwrap();
    while !matches!(store.flush(), Err(Error::DeadlinePassed { .. })) {}
    let moving = begin_move(&store, Arc::new(new)).unwrap();
    let mut refused = 0;
    let began = Instant::now();
    for turn in 0..2_000_u32 {
        let at = Instant::now();
        if let Err(error) = store.put(format!("key-{}", turn % 20), [7; 4_000]) {
            assert!(matches!(error, Error::Overloaded), "{error:?}");
            refused += 1;
        }
        assert!(at.elapsed() < Duration::from_secs(5), "a put took {:?}", at.elapsed());
        let at = Instant::now();
        assert_eq!(store.get("key").as_deref(), Some(&b"newer"[..]));
        assert!(at.elapsed() < Duration::from_secs(2), "a get took {:?}", at.elapsed());
        if refused > 3 {
            break;
        }
    }
    assert!(refused > 3, "the write cache fills up in {:?}", began.elapsed());
    assert!(moving.outcome().is_none(), "the old device does not let go of the thread");
    old.clear_faults();
    old.release();
    let deadline = Instant::now() + Duration::from_secs(20);
    let outcome = loop {
        match moving.outcome() {
            Some(outcome) => break outcome,
            None => assert!(Instant::now() < deadline, "the move goes on"),
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    outcome.unwrap();
    while store.flush().is_err() {}
}

#[test]
fn a_move_that_cannot_begin_while_the_old_device_hangs_has_a_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let hangs = disk(1, 6);
    let soon = Duration::from_millis(20);
    let config = config(1, 6).flush_deadline(soon).close_deadline(soon);
    let store = Harness::default().open_on(config, Arc::new(hangs.clone())).unwrap();
    hangs.inject(FaultOn::Sync, 0, u64::MAX, Fault::Stall);
    store.put("key", "value").unwrap();
    assert!(matches!(store.flush(), Err(Error::DeadlinePassed { .. })));
    let place = dir.path().join("place");
    let late = store.reattach_shadow(&place);
    assert!(matches!(late, Err(Error::DeadlinePassed { .. })), "{late:?}");
    assert!(!place.exists(), "what was created is gone");
    hangs.clear_faults();
    hangs.release();
    while store.flush().is_err() {}
    // The deadline is short, and the machine may be busy.
    while let Err(error) = store.reattach_shadow(&place) {
        assert!(matches!(error, Error::DeadlinePassed { .. }), "{error:?}");
    }
    while store.flush().is_err() {}
}

#[test]
fn a_move_to_a_device_that_hangs_is_given_up_wherever_it_is() {
    let soon = Duration::from_millis(20);
    let hangs_at = |on, nth| {
        let config = config(1, 6).flush_deadline(soon).close_deadline(Duration::from_secs(20));
        let (old, new) = (disk(1, 6), disk(1, 6));
        let store = Harness::default().open_on(config.clone(), Arc::new(old.clone())).unwrap();
        store.put("key", "value").unwrap();
        while store.flush().is_err() {}
        new.inject(on, nth, u64::MAX, Fault::Stall);
        let late = move_to(&store, Arc::new(new.clone()));
        assert!(matches!(late, Err(Error::DeadlinePassed { .. })), "{on:?} {nth}: {late:?}");
        assert_eq!(store.get("key").as_deref(), Some(&b"value"[..]));
        new.clear_faults();
        new.release();
        // It is the old shadow's, and the one that was given up is never whole.
        store.put("key", "newer").unwrap();
        while store.flush().is_err() {}
        let given_up = Harness::default().open_on(config.clone(), Arc::new(new.clone()));
        assert!(given_up.is_err(), "{on:?} {nth}");
        while let Err(error) = move_to(&store, Arc::new(new.clone())) {
            assert!(matches!(error, Error::DeadlinePassed { .. }), "{error:?}");
        }
        store.put("key", "newest").unwrap();
        store.close().unwrap();
        let store = Harness::default().open_on(config, Arc::new(new)).unwrap();
        assert_eq!(store.get("key").as_deref(), Some(&b"newest"[..]));
    };
    // The first superblock, the wblocks, and the sync of them before it is made whole.
    for (on, nth) in
        [(FaultOn::Write, 0), (FaultOn::Sync, 0), (FaultOn::Write, 3), (FaultOn::Sync, 1)]
    {
        hangs_at(on, nth);
    }
}
