//! Damage to a shadow, bit by bit and sector by sector: found, contained, counted, never a panic.
//!
//! The images come from a store that was written in several runs and many flushes. What a place
//! holds is told by walking the undamaged image, and says what must happen when it is damaged:
//! its neighbours load, what was durable and is lost is reported, and a key whose name can still
//! be read never goes back to an older version (invariants 5 and 7).
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failed step of a test is the test's failure"
)]

#[path = "common_files/rng.rs"]
mod rng;

use brindle::format::{
    CommitWord, Location, Padding, RecordView, SUPERBLOCK_BYTES, SUPERBLOCK_COPY_B_OFFSET,
    StoreKey, Superblock, WBLOCK_HEADER_BYTES, WblockHeader, WblockHome, WblockId, WblockPlace,
    scan_wblock,
};
use brindle::testing::{Clock, Harness, ManualClock, Prefer};
use brindle::{Config, Error, Health, HugePages, LoadReport, OnDamage, PutOptions, Store};
use rng::Rng;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

const WBLOCK_BYTES: usize = 64 << 10;
const WBLOCKS: usize = 6;
const AREA: usize = 64 << 10;
const SECTOR: usize = 4096;
const NOW_US: u64 = 1_800_000_000_000_000;

type Contents = BTreeMap<Vec<u8>, (u64, Vec<u8>)>;

fn config() -> Config {
    Config::new().huge_pages(HugePages::Off).prefault(false).pin_cores(false).flush_max_ms(0)
}

fn harness() -> Harness {
    // What lies where is part of the tests: nothing is to be moved.
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW_US));
    Harness { clock: Some(clock), prefer: Prefer::Blocking, reclaims: false }
}

/// A file of its own for one thread, in memory where the system has such a place: what is tested
/// is not the disk.
struct Bench {
    path: PathBuf,
    _scratch: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let scratch =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let scratch = scratch.expect("a directory");
        Self { path: scratch.path().join("shadow"), _scratch: scratch }
    }

    fn with(image: &[u8]) -> Self {
        let bench = Self::new();
        fs::write(&bench.path, image).expect("a file");
        bench
    }

    fn image(&self) -> Vec<u8> {
        fs::read(&self.path).expect("a file")
    }

    fn open(&self, config: Config) -> brindle::Result<Store> {
        harness().open(config.shadow_devices([&self.path]))
    }

    fn create(&self) -> Store {
        fs::write(&self.path, "").expect("a file");
        let config =
            config().wblock_size(WBLOCK_BYTES as u64).data_size((WBLOCK_BYTES * WBLOCKS) as u64);
        self.open(config).expect("a new store")
    }

    /// Opens a damaged image and returns what is there and what was found.
    fn load(&self, image: &[u8]) -> Loaded {
        fs::write(&self.path, image).expect("a file");
        let store = self.open(config()).expect("damage never refuses under `report`");
        Loaded { contents: contents(&store), report: store.stats().load, health: store.health() }
    }
}

/// What an open found.
struct Loaded {
    contents: Contents,
    report: LoadReport,
    health: Health,
}

fn contents(store: &Store) -> Contents {
    let entry = |record: brindle::Record<'_>| {
        (record.key().to_vec(), (record.version().into(), record.to_vec()))
    };
    store.scan().map(entry).collect()
}

fn key(number: u64) -> String {
    format!("key-{number:04}")
}

/// Puts `keys`, with values that differ between runs, and makes them durable in two flushes.
fn put_run(store: &Store, run: u64, keys: Range<u64>) {
    for number in keys {
        let bytes = 40 + number * 37 % 300;
        let mut rng = Rng::new(run << 32 | number);
        let value: Vec<u8> = (0..bytes).map(|_| rng.next().to_le_bytes()[0]).collect();
        store.put(key(number), value).expect("there is room");
        if number % 8 == 7 {
            store.flush().expect("a sound disk");
        }
    }
    store.flush().expect("a sound disk");
}

/// A store of three runs: values, overwrites, deletes, records that expire, one empty value.
struct Sample {
    image: Vec<u8>,
    contents: Contents,
    superblock: Superblock,
    records: Vec<Place>,
}

/// A record, where the undamaged image has it.
#[derive(Clone, Debug)]
struct Place {
    wblock: usize,
    /// Bytes of the file: the whole record, and what must be whole for its key to be known.
    bytes: Range<usize>,
    head: Range<usize>,
    key: Vec<u8>,
    version: u64,
    value: Vec<u8>,
    /// A value that has not expired.
    is_live: bool,
    /// Something of a later flush stands behind it: it was durable, and damage to it is no torn
    /// write.
    is_proven: bool,
    /// No run has crashed since its wblock was opened, says the superblock: the same follows.
    is_whole: bool,
}

fn sample(is_closed: bool) -> Sample {
    let bench = Bench::new();
    let store = bench.create();
    put_run(&store, 1, 0..40);
    store.close().expect("a sound disk");
    let store = bench.open(config()).expect("a sound store");
    put_run(&store, 2, 10..25);
    for number in 20..28 {
        assert!(store.delete(key(number)).expect("there is room"));
    }
    store.put(key(50), "").expect("there is room");
    store.flush().expect("a sound disk");
    put_run(&store, 2, 51..53);
    store.close().expect("a sound disk");
    let store = bench.open(config()).expect("a sound store");
    let later = UNIX_EPOCH + Duration::from_micros(NOW_US) + Duration::from_secs(3600);
    let options = PutOptions::new().expires_at(later);
    for number in 0..4 {
        store.put_with(key(number), "lives on", &options).expect("there is room");
    }
    let earlier = UNIX_EPOCH + Duration::from_micros(NOW_US) - Duration::from_secs(1);
    let options = PutOptions::new().expires_at(earlier);
    for number in 4..8 {
        store.put_with(key(number), "is over", &options).expect("there is room");
    }
    store.flush().expect("a sound disk");
    put_run(&store, 3, 30..34);
    let before = contents(&store);
    if is_closed {
        store.close().expect("a sound disk");
    }
    let image = bench.image();
    let superblock = superblock_of(&image);
    let records = places(&image, &superblock);
    assert!(records.len() > 70, "{} records", records.len());
    Sample { image, contents: before, superblock, records }
}

fn superblock_of(image: &[u8]) -> Superblock {
    let copy_b = usize::try_from(SUPERBLOCK_COPY_B_OFFSET).expect("small");
    let b = &image[copy_b..copy_b + SUPERBLOCK_BYTES];
    let found = brindle::format::choose(&image[..SUPERBLOCK_BYTES], b);
    let brindle::format::Found::Superblock { superblock, .. } = found else {
        panic!("{found:?}");
    };
    superblock
}

fn wblock_at(wblock: usize) -> usize {
    AREA + wblock * WBLOCK_BYTES
}

fn home(superblock: &Superblock, wblock: usize) -> WblockHome {
    WblockHome {
        store_id: superblock.store_id,
        stripe: 0,
        wblock: WblockId(u32::try_from(wblock).expect("few")),
        wblock_bytes: superblock.geometry.wblock_bytes,
    }
}

/// Every record of a sound image.
fn places(image: &[u8], superblock: &Superblock) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for wblock in 0..WBLOCKS {
        let bytes = &image[wblock_at(wblock)..wblock_at(wblock + 1)];
        let state = WblockHeader::decode(&bytes[..SECTOR], &home(superblock, wblock));
        let brindle::format::HeaderState::Valid { header, .. } = state else { continue };
        let place = WblockPlace {
            store_key: StoreKey::of(&superblock.store_id),
            first_location: Location((wblock * WBLOCK_BYTES / 16) as u64),
            header_sequence: header.sequence,
        };
        let first = places.len();
        let scan = scan_wblock(bytes, place, |rblock, view: RecordView<'_>| {
            let start = wblock_at(wblock) + rblock as usize * 16;
            let header_bytes = if view.expires_at().is_some() { 36 } else { 28 };
            places.push(Place {
                wblock,
                bytes: start..start + view.rblocks() as usize * 16,
                head: start..start + header_bytes + view.key().len(),
                key: view.key().to_vec(),
                version: view.version().into(),
                value: view.value().to_vec(),
                is_live: !view.is_tombstone() && view.expires_at().is_none_or(|at| at >= NOW_US),
                is_proven: false,
                is_whole: superblock.is_whole(header.sequence),
            });
        });
        assert!(scan.damage.is_empty(), "{:?}", scan.damage);
        let proven = last_flush_start(bytes, place, scan.end_rblock);
        for place in &mut places[first..] {
            place.is_proven = place.bytes.start < wblock_at(wblock) + proven;
        }
    }
    places
}

/// Where the last flush of a sound wblock began. Unit: bytes from its start.
fn last_flush_start(bytes: &[u8], place: WblockPlace, end_rblock: u32) -> usize {
    let starts = (8..end_rblock).filter_map(|rblock| {
        let at = rblock as usize * 16;
        let word = u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let rblocks = CommitWord::from_raw(word).rblocks()?;
        let rest = bytes.get(at..at + rblocks.get() as usize * 16)?;
        let location = Location(place.first_location.0 + u64::from(rblock));
        match Padding::decode(rest, place.store_key, location)? {
            Padding::FlushEnd { start_sector, .. } => Some(usize::from(start_sector) * SECTOR),
            Padding::Filler => None,
        }
    });
    starts.max().expect("it was flushed")
}

/// Runs `check` for each of `cases` on two threads.
fn for_each<T: Send + Sync>(cases: &[T], check: impl Fn(&Bench, &T) + Sync) {
    let next = AtomicU64::new(0);
    let take = || {
        let at = next.fetch_add(1, Ordering::Relaxed);
        cases.get(usize::try_from(at).expect("few"))
    };
    let work = || {
        let bench = Bench::new();
        std::iter::from_fn(take).for_each(|case| check(&bench, case));
    };
    thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
}

fn say(line: &str) {
    // Nobody may listen.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn flipped(image: &[u8], byte: usize, bit: u32) -> Vec<u8> {
    let mut image = image.to_vec();
    image[byte] ^= 1 << bit;
    image
}

impl Sample {
    /// The copy that says so is not damaged; the other one is from the time before the close.
    fn is_clean(&self, hits: &[Range<usize>]) -> bool {
        let copy_b = usize::try_from(SUPERBLOCK_COPY_B_OFFSET).expect("small");
        let offset = [0, copy_b].into_iter().find(|offset| {
            let copy = &self.image[*offset..offset + SUPERBLOCK_BYTES];
            Superblock::decode_copy(copy).is_ok_and(|copy| copy == self.superblock)
        });
        let offset = offset.expect("one of the copies is in force");
        hits.iter().all(|hit| hit.end <= offset || hit.start >= offset + SUPERBLOCK_BYTES)
    }

    /// What must be found after damage to the bytes of `hits`, at most one in each wblock.
    fn expect(&self, hits: &[Range<usize>]) -> Expected {
        let mut expected = Expected::default();
        let mut winners: BTreeMap<&[u8], (u64, Option<&Place>)> = BTreeMap::new();
        for place in &self.records {
            let is_hit = |bytes: &Range<usize>| {
                hits.iter().any(|hit| hit.start < bytes.end && bytes.start < hit.end)
            };
            let survivor = if !is_hit(&place.bytes) {
                Some(place).filter(|place| place.is_live)
            } else if !(place.is_proven || place.is_whole && self.is_clean(hits)) {
                expected.torn += 1;
                continue;
            } else if is_hit(&place.head) {
                expected.lost_places += 1;
                continue;
            } else {
                // Its key is known, and so it is known to be lost.
                expected.lost_values += 1;
                None
            };
            let winner = winners.entry(&place.key).or_insert((0, None));
            if place.version > winner.0 {
                *winner = (place.version, survivor);
            }
        }
        let live = winners.into_iter().filter_map(|(key, (version, place))| {
            Some((key.to_vec(), (version, place?.value.clone())))
        });
        expected.contents = live.collect();
        expected
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Expected {
    contents: Contents,
    torn: u64,
    lost_values: u64,
    lost_places: u64,
}

/// The bits of one wblock to be flipped: all of its header, and every so many behind it, a little
/// past what is in use.
fn bits_of_wblock(sample: &Sample, wblock: usize, count: usize) -> Vec<usize> {
    let start = wblock_at(wblock);
    let of_wblock = sample.records.iter().filter(|place| place.wblock == wblock);
    let end = of_wblock.map(|place| place.bytes.end).max().expect("it holds records");
    let header = start * 8..(start + WBLOCK_HEADER_BYTES as usize) * 8;
    let behind = header.end..(end.next_multiple_of(SECTOR) + 512) * 8;
    // Not a multiple of 8, so that every bit of a byte has its turn.
    let step = (behind.len() / (count - header.len())).max(1) | 1;
    let mut bits: Vec<usize> = header.chain(behind.step_by(step)).collect();
    while bits.len() < count {
        bits.push(bits[bits.len() / 2] + 1);
    }
    bits
}

#[test]
fn any_flipped_bit_is_found_and_hurts_nothing_else() {
    let sample = sample(true);
    assert_eq!(sample.expect(&[]).contents, sample.contents, "the oracle knows its business");
    let copy_b = usize::try_from(SUPERBLOCK_COPY_B_OFFSET).expect("small");
    // Every bit of what a copy says and of its checksum, and some of the reserved ones.
    let copy: Vec<usize> =
        (0..96 * 8).chain((96 * 8..4088 * 8).step_by(41)).chain(4088 * 8..4096 * 8).collect();
    let superblock: Vec<usize> =
        copy.iter().copied().chain(copy.iter().map(|bit| bit + copy_b * 8)).collect();
    let rounds = 5800;
    let wblocks: Vec<Vec<usize>> =
        (0..3).map(|wblock| bits_of_wblock(&sample, wblock, rounds)).collect();
    // One bit in each of four places that know nothing of each other.
    let cases: Vec<Vec<usize>> = (0..rounds)
        .map(|round| {
            let mut bits: Vec<usize> = wblocks.iter().map(|bits| bits[round]).collect();
            bits.extend(superblock.get(round));
            bits
        })
        .collect();
    for_each(&cases, |bench, bits| {
        let mut image = sample.image.clone();
        for bit in bits {
            image[bit / 8] ^= 1 << (bit % 8);
        }
        check_flips(&sample, bits, &bench.load(&image));
    });
    say(&format!("{} bits flipped", cases.iter().map(Vec::len).sum::<usize>()));
}

fn check_flips(sample: &Sample, bits: &[usize], loaded: &Loaded) {
    let hits: Vec<Range<usize>> = bits.iter().map(|bit| bit / 8..bit / 8 + 1).collect();
    let expected = sample.expect(&hits);
    let rejected = loaded.report.rejected;
    let context = format!("bits {bits:?}: {rejected:?}");
    let in_header = |bit: &&usize| {
        **bit >= AREA * 8 && (**bit / 8 - AREA) % WBLOCK_BYTES < WBLOCK_HEADER_BYTES as usize
    };
    assert_eq!(loaded.contents, expected.contents, "{context}");
    assert_eq!(rejected.header_copies, bits.iter().filter(in_header).count() as u64, "{context}");
    let in_superblock = bits.iter().filter(|bit| **bit < AREA * 8).count() as u64;
    assert_eq!(rejected.superblock_copies, in_superblock, "{context}");
    assert_eq!(rejected.lost_values, expected.lost_values, "{context}");
    // A hit on a padding counts too: one bit tells it from a record.
    let elsewhere = bits.len() as u64 - expected.torn - expected.lost_values - expected.lost_places;
    let places = expected.lost_places..=expected.lost_places + elsewhere;
    let lost_places = rejected.lost_places + rejected.paddings;
    assert!(places.contains(&lost_places), "{context}");
    assert!((expected.torn..=expected.torn + elsewhere).contains(&rejected.torn), "{context}");
    assert_eq!(rejected.unsupported + rejected.damaged_wblocks + rejected.foreign_wblocks, 0);
    let damaged = if let Health::DataLoss { damaged, .. } = loaded.health { damaged } else { 0 };
    assert_eq!(damaged, lost_places + rejected.lost_values, "{context}");
    assert_eq!(damaged == 0, loaded.health == Health::Ok, "{context}");
}

#[test]
fn damage_in_a_header_of_both_copies_costs_one_wblock_and_says_so() {
    let sample = sample(true);
    let bench = Bench::new();
    for wblock in 0..3 {
        let mut image = flipped(&sample.image, wblock_at(wblock) + 30, 3);
        image[wblock_at(wblock) + 64 + 50] ^= 1;
        let loaded = bench.load(&image);
        assert_eq!(loaded.report.rejected.damaged_wblocks, 1);
        assert!(matches!(loaded.health, Health::DataLoss { damaged: 1, .. }));
        check_without(&sample, &[wblock], &loaded);
    }
}

/// The records are those of an image that lacks `wblocks`.
fn check_without(sample: &Sample, wblocks: &[usize], loaded: &Loaded) {
    let others = sample.records.iter().filter(|place| !wblocks.contains(&place.wblock));
    let others = Sample {
        image: Vec::new(),
        contents: Contents::new(),
        superblock: sample.superblock,
        records: others.cloned().collect(),
    };
    assert_eq!(loaded.contents, others.expect(&[]).contents, "without wblocks {wblocks:?}");
}

#[test]
fn one_damaged_superblock_copy_is_repaired_and_two_are_refused_untouched() {
    let sample = sample(true);
    let copy_b = usize::try_from(SUPERBLOCK_COPY_B_OFFSET).expect("small");
    for byte in [0, 9, 20, 47, 1000, 4090] {
        for damaged in [byte, byte + copy_b] {
            let bench = Bench::new();
            let loaded = bench.load(&flipped(&sample.image, damaged, 2));
            assert_eq!((loaded.contents, loaded.health), (sample.contents.clone(), Health::Ok));
            assert_eq!(loaded.report.rejected.superblock_copies, 1);
            let store = bench.open(config().on_damage(OnDamage::Refuse)).expect("repaired");
            assert_eq!(store.stats().load.rejected.superblock_copies, 0);
        }
        let image = flipped(&flipped(&sample.image, byte, 2), byte + copy_b, 5);
        let bench = Bench::with(&image);
        match bench.open(config()) {
            Err(Error::NotAShadow { path, .. } | Error::UnsupportedFormat { path, .. }) => {
                assert_eq!(path, bench.path);
            }
            other => panic!("byte {byte}: {other:?}"),
        }
        assert_eq!(bench.image(), image, "left as it was");
    }
}

#[test]
fn a_zeroed_sector_hurts_only_what_it_held() {
    let sample = sample(true);
    let sectors: Vec<usize> = (AREA..wblock_at(4)).step_by(SECTOR).collect();
    for_each(&sectors, |bench, sector| {
        let mut image = sample.image.clone();
        image[*sector..*sector + SECTOR].fill(0);
        let loaded = bench.load(&image);
        let wblock = (sector - AREA) / WBLOCK_BYTES;
        if *sector == wblock_at(wblock) {
            // The wblock looks as if it had never been written; the superblock knows better.
            let is_used = sample.records.iter().any(|place| place.wblock == wblock);
            assert_eq!(loaded.report.rejected.missing_wblocks, u64::from(is_used));
            check_without(&sample, &[wblock], &loaded);
            return;
        }
        // What is hit may count as one place or as several; who is lost is known all the same.
        let hit = *sector..*sector + SECTOR;
        let expected = sample.expect(&[hit]);
        let context = format!("sector at {sector}: {:?}", loaded.report.rejected);
        assert_eq!(loaded.contents, expected.contents, "{context}");
        // Also the last sector that was written, which looks as if it had never been.
        let was_written = sample.image[*sector..*sector + SECTOR].iter().any(|byte| *byte != 0);
        assert_eq!(loaded.health != Health::Ok, was_written, "{context}");
    });
}

#[test]
fn what_a_run_wrote_that_did_not_end_in_order_is_not_in_the_census() {
    let sample = sample(false);
    let bench = Bench::new();
    let last = sample.records.iter().map(|place| place.wblock).max().expect("there are records");
    assert!(last > 0);
    for wblock in 0..=last {
        let mut image = sample.image.clone();
        image[wblock_at(wblock)..wblock_at(wblock) + SECTOR].fill(0);
        let loaded = bench.load(&image);
        check_without(&sample, &[wblock], &loaded);
        // The limit: nothing but the wblock itself knew of it.
        assert_eq!(loaded.report.rejected.missing_wblocks, u64::from(wblock < last));
    }
}

#[test]
fn a_record_pasted_over_another_does_not_load() {
    let sample = sample(true);
    let cases: Vec<(usize, usize)> = (0..sample.records.len())
        .flat_map(|from| [7, 23, 41].map(|step| (from, (from + step) % sample.records.len())))
        .collect();
    for_each(&cases, |bench, (from, over)| {
        let (from, over) = (&sample.records[*from].bytes, &sample.records[*over].bytes);
        let mut image = sample.image.clone();
        let hit = over.start..(over.start + from.len()).min(wblock_at(3));
        image[hit.clone()].copy_from_slice(&sample.image[from.start..from.start + hit.len()]);
        let loaded = bench.load(&image);
        let context = format!("{from:?} over {over:?}: {:?}", loaded.report.rejected);
        assert_eq!(loaded.contents, sample.expect(&[hit]).contents, "{context}");
        assert_ne!(loaded.health, Health::Ok, "{context}");
    });
}

#[test]
fn wblocks_in_the_wrong_place_are_foreign() {
    let sample = sample(true);
    let bench = Bench::new();
    let mut image = sample.image.clone();
    let (left, right) = image.split_at_mut(wblock_at(1));
    left[wblock_at(0)..].swap_with_slice(&mut right[..WBLOCK_BYTES]);
    let loaded = bench.load(&image);
    assert_eq!(loaded.report.rejected.foreign_wblocks, 2);
    assert!(matches!(loaded.health, Health::DataLoss { damaged: 2, .. }));
    check_without(&sample, &[0, 1], &loaded);

    let mut image = sample.image.clone();
    image.copy_within(wblock_at(0)..wblock_at(1), wblock_at(2));
    let loaded = bench.load(&image);
    assert_eq!(loaded.report.rejected.foreign_wblocks, 1);
    check_without(&sample, &[2], &loaded);

    let other = self::sample(true);
    let mut image = sample.image.clone();
    image[wblock_at(1)..wblock_at(2)].copy_from_slice(&other.image[wblock_at(1)..wblock_at(2)]);
    let loaded = bench.load(&image);
    assert_eq!(loaded.report.rejected.foreign_wblocks, 1);
    check_without(&sample, &[1], &loaded);

    let refused = Bench::with(&image);
    let error = refused.open(config().on_damage(OnDamage::Refuse)).expect_err("it is damaged");
    assert!(matches!(error, Error::Damaged { damaged: 1, .. }), "{error}");
    assert_eq!(refused.image(), image, "left as it was");
}

#[test]
fn an_older_image_of_a_wblock_brings_back_nothing_that_is_dead() {
    let bench = Bench::new();
    let store = bench.create();
    put_run(&store, 1, 0..10);
    let older = bench.image();
    put_run(&store, 2, 0..10);
    store.close().expect("a sound disk");
    let store = bench.open(config()).expect("a sound store");
    for number in 0..5 {
        store.delete(key(number)).expect("there is room");
    }
    store.close().expect("a sound disk");
    let mut image = bench.image();
    image[wblock_at(0)..wblock_at(1)].copy_from_slice(&older[wblock_at(0)..wblock_at(1)]);
    let loaded = bench.load(&image);
    // Which keys were lost is not known, and so older values of them load: never without a report.
    // What another wblock knows to be deleted stays so.
    assert!(loaded.report.rejected.lost_places > 0, "{:?}", loaded.report);
    assert!(matches!(loaded.health, Health::DataLoss { .. }));
    let keys: Vec<Vec<u8>> = (5..10).map(|number| key(number).into_bytes()).collect();
    assert_eq!(loaded.contents.into_keys().collect::<Vec<_>>(), keys);
}

#[test]
fn a_shadow_that_was_cut_short_opens_without_what_is_missing() {
    let sample = sample(true);
    let lengths: Vec<usize> = (0..=sample.image.len()).step_by(SECTOR).collect();
    for_each(&lengths, |bench, length| {
        let image = &sample.image[..*length];
        fs::write(&bench.path, image).expect("a file");
        let is_whole = *length == sample.image.len();
        let refused = bench.open(config().on_damage(OnDamage::Refuse));
        match *length {
            0 => {
                // An empty file is a store that was never begun.
                assert!(refused.is_ok_and(|store| store.is_empty()));
                return;
            }
            _ if is_whole => drop(refused.expect("it is sound")),
            _ => match refused {
                Err(Error::Damaged { path, damaged }) => {
                    assert_eq!(path, bench.path);
                    assert!(damaged > 0);
                }
                other => panic!("{length} bytes: {other:?}"),
            },
        }
        if !is_whole {
            assert_eq!(bench.image(), image, "{length} bytes: left as it was");
        }
        let loaded = bench.load(image);
        let missing = *length..sample.image.len();
        let kept = sample.records.iter().filter(|place| place.bytes.end <= missing.start);
        let kept = Sample {
            image: Vec::new(),
            contents: Contents::new(),
            superblock: sample.superblock,
            records: kept.cloned().collect(),
        };
        assert_eq!(loaded.contents, kept.expect(&[]).contents, "{length} bytes");
        assert_eq!(loaded.report.truncated_shadows, u64::from(!is_whole), "{length} bytes");
        assert_eq!(loaded.health == Health::Ok, is_whole, "{length} bytes");
    });
}

#[test]
fn a_record_hidden_in_a_value_never_loads() {
    let bench = Bench::new();
    let store = bench.create();
    store.put("victim", "once").expect("there is room");
    store.flush().expect("a sound disk");
    let image = bench.image();
    let superblock = superblock_of(&image);
    let victim = places(&image, &superblock).pop().expect("the victim");
    assert!(store.delete("victim").expect("there is room"));
    // A key of 4 bytes puts the value on an rblock; the other lengths are for luck.
    let hidden = image[victim.bytes.clone()].repeat(40);
    for carrier in ["1234", "12345678", "123456789"] {
        store.put(carrier, &hidden).expect("there is room");
    }
    store.put("last", "in its flush").expect("there is room");
    store.flush().expect("a sound disk");
    store.put("behind", "in another").expect("there is room");
    store.close().expect("a sound disk");
    let image = bench.image();
    let records = places(&image, &superblock);
    let carriers: Vec<Place> =
        records.into_iter().filter(|place| place.bytes.len() > 1000).collect();
    assert_eq!(carriers.len(), 3);
    let mut cases = Vec::new();
    for carrier in &carriers {
        cases.extend(carrier.head.clone().map(|byte| (byte, carrier.key.clone())));
    }
    for_each(&cases, |bench, (byte, carrier)| {
        for bit in [0, 3, 7] {
            let loaded = bench.load(&flipped(&image, *byte, bit));
            let keys: Vec<&[u8]> = loaded.contents.keys().map(Vec::as_slice).collect();
            assert!(!keys.contains(&b"victim".as_slice()), "byte {byte}: back from the dead");
            assert!(!keys.contains(&carrier.as_slice()), "byte {byte}");
            assert_eq!(keys.len(), 4, "byte {byte}: the others load");
            // Each hidden head looks like one that was damaged.
            assert!(loaded.report.rejected.lost_places > 0, "byte {byte}: found");
        }
    });
}

#[test]
fn noise_in_place_of_a_shadow_never_panics() {
    let sample = sample(false);
    let seeds: Vec<u64> = (0..400).collect();
    for_each(&seeds, |bench, seed| {
        let mut rng = Rng::new(*seed);
        let mut image = sample.image.clone();
        let below =
            |rng: &mut Rng, limit: usize| usize::try_from(rng.below(limit as u64)).expect("small");
        for _ in 0..=below(&mut rng, 4) {
            let start = AREA + below(&mut rng, wblock_at(3) - AREA - 1);
            let bytes = (1 + below(&mut rng, 9000)).min(image.len() - start);
            let from = AREA + below(&mut rng, wblock_at(3) - AREA - bytes);
            match rng.below(3) {
                0 => image[start..start + bytes].fill_with(|| rng.next().to_le_bytes()[3]),
                1 => image[start..start + bytes].fill(0xff),
                _ => image.copy_within(from..from + bytes, start),
            }
        }
        let loaded = bench.load(&image);
        for (key, (version, value)) in &loaded.contents {
            let is_this = |place: &&Place| {
                place.key == *key && place.version == *version && place.value == *value
            };
            assert!(sample.records.iter().any(|place| is_this(&place)), "seed {seed}: invented");
        }
    });
}

#[test]
fn a_tombstone_that_lost_its_key_is_reported() {
    let sample = sample(true);
    let bench = Bench::new();
    let tombstones = sample.records.iter().filter(|place| !place.is_live && place.is_proven);
    let mut seen = 0;
    for tombstone in tombstones {
        // Its key cannot be read any more, and so an older value of it may be back: never without
        // a report.
        let loaded = bench.load(&flipped(&sample.image, tombstone.head.end - 1, 0));
        assert!(matches!(loaded.health, Health::DataLoss { .. }), "{:?}", loaded.report);
        seen += 1;
    }
    assert!(seen > 4, "{seen} tombstones");
}
