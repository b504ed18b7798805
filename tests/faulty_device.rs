//! Devices that fail under a running store: a FUSE device of the test's own refuses, shortens,
//! tears, loses, misdirects, flips, stalls and vanishes, at each of several writes, syncs or reads.
//!
//! The store runs in a child, which journals as in `kill`. After the fault the power is cut, what
//! the device has is copied to a sound disk, and the store that opens there is held against the
//! journal. In every case, and whatever else a version does about a fault:
//!
//! - what was acknowledged as durable is there, not older, and nothing else (a device that lies
//!   may lose, but what is read was once put under its key);
//! - reads go on, in memory all is as it was put, and nothing panics or hangs;
//! - what moves less than it was asked to, or takes long, is no fault at all.
//!
//! Needs FUSE; loop devices on top of it need root. `BRINDLE_SEED` repeats a run.
#![expect(clippy::expect_used, reason = "a failed step of a test is the test's failure")]

#[path = "common_files/child.rs"]
mod child;
#[path = "common_faults/device.rs"]
mod device;
#[path = "common_faults/mod.rs"]
mod faults;
#[path = "common_files/rng.rs"]
mod rng;
#[path = "common_files/skip.rs"]
mod skip;

use brindle::Health;
use brindle::testing::Prefer;
use device::{Device, Fault, Images};
use faults::disks::Loop;
use faults::oracle::Oracle;
use faults::victim::{PATIENCE, Victim};
use faults::work::{self, Setup};
use faults::{in_lanes, say, seed};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

const LANES: usize = 3;
/// Writes of each thread of the child.
const WRITES: u64 = 60;

/// When a rule is armed, and which operation of its kind from then on it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Open(u64),
    Work(u64),
}

use When::{Open, Work};

const OF_WRITES: [When; 6] = [Open(1), Open(3), Work(1), Work(2), Work(5), Work(14)];
const OF_SYNCS: [When; 6] = [Open(1), Open(3), Work(1), Work(2), Work(5), Work(9)];
const OF_READS: [When; 6] = [Open(1), Open(2), Open(4), Open(8), Open(16), Open(32)];

const FAULTS: [(Fault, [When; 6]); 20] = [
    (Fault::Error(libc::EIO), OF_WRITES),
    (Fault::Errors(libc::EIO), OF_WRITES),
    (Fault::Error(libc::ENOSPC), OF_WRITES),
    (Fault::Errors(libc::ENOSPC), OF_WRITES),
    (Fault::Sore, OF_WRITES),
    (Fault::Short, OF_WRITES),
    (Fault::Shorts, OF_WRITES),
    (Fault::Stuck, OF_WRITES),
    (Fault::Torn, OF_WRITES),
    (Fault::Lost, OF_WRITES),
    (Fault::Misdirected, OF_WRITES),
    (Fault::Flipped, OF_WRITES),
    (Fault::Held, OF_WRITES),
    (Fault::Slow, OF_WRITES),
    (Fault::Gone, OF_WRITES),
    (Fault::SyncError, OF_SYNCS),
    (Fault::SyncErrors, OF_SYNCS),
    (Fault::ReadError, OF_READS),
    (Fault::ReadErrors, OF_READS),
    (Fault::ReadShort, OF_READS),
];

/// The child's part.
#[test]
fn child_entry() {
    work::play();
}

/// What a store has, on a device and in its journal, before a case begins.
struct Start {
    images: Images,
    journal: String,
    oracle: Oracle,
}

/// One case of the table.
#[derive(Clone, Copy, Debug)]
struct Case {
    fault: Fault,
    when: When,
    prefer: Prefer,
    direct: bool,
    /// Through a loop device on the device's file.
    is_looped: bool,
    seed: u64,
}

/// How a case went, in short.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    met: u32,
    refused: u32,
    flushed: u32,
    closed: u32,
    /// Keys that a device that lied had lost, and cases of them of which health knows.
    lost: usize,
    reported: u32,
    acknowledged: u64,
}

/// A device below `scratch`, mounted; `Err`: why there is none.
fn mount(scratch: &Path, images: &Images, seed: u64) -> Result<Device, String> {
    let place = scratch.join("device");
    fs::create_dir(&place).expect("a directory");
    Device::mount(&place, images, seed).map_err(|error| format!("no FUSE here: {error}"))
}

impl Case {
    /// The device says that it did what it did not do. The system's loop driver takes a short
    /// write of its file for a whole one.
    fn is_lie(&self) -> bool {
        let is_short = matches!(self.fault, Fault::Short | Fault::Shorts);
        self.fault.is_lie() || (self.is_looped && is_short)
    }

    fn setup(&self, scratch: &Path) -> Setup {
        Setup {
            prefer: self.prefer,
            direct: self.direct,
            writes: WRITES,
            is_device: self.is_looped,
            ..Setup::new(scratch.join("device"), scratch.join("journal"), self.seed)
        }
    }

    /// A run on a sound device.
    fn start(&self) -> Result<Start, String> {
        let scratch = tempfile::tempdir().expect("a directory");
        let mut images = Images::new();
        if self.is_looped {
            images.push(("disk".into(), vec![0; 26 << 20]));
        }
        let device = mount(scratch.path(), &images, self.seed)?;
        let disk = self.disk(scratch.path())?;
        let mut setup = self.setup(scratch.path());
        if let Some(disk) = &disk {
            setup.shadow.clone_from(&disk.0);
        }
        let mut victim = Victim::start(&[], "finish", &setup);
        victim.go_on();
        let (_, complaints) = victim.finish();
        let said = victim.said.iter().any(|line| line == "closed");
        assert!(said, "{:?}: {complaints}", victim.said);
        drop(disk);
        let mut oracle = Oracle::of_a_faulty_disk();
        oracle.read(&setup.journal);
        let journal = fs::read_to_string(&setup.journal).expect("a journal");
        Ok(Start { images: device.power_off(), journal, oracle })
    }

    /// The loop device, if the case is for one.
    fn disk(&self, scratch: &Path) -> Result<Option<Loop>, String> {
        self.is_looped.then(|| Loop::over(&scratch.join("device").join("disk"))).transpose()
    }

    fn run(&self, start: &Start) -> Outcome {
        let scratch = tempfile::tempdir().expect("a directory");
        let device = mount(scratch.path(), &start.images, self.seed).expect("as at the start");
        let disk = self.disk(scratch.path()).expect("as at the start");
        let mut setup = self.setup(scratch.path()).run(1);
        if let Some(disk) = &disk {
            setup.shadow.clone_from(&disk.0);
        }
        fs::write(&setup.journal, &start.journal).expect("a journal");
        let mut oracle = start.oracle.clone();

        let mut outcome = self.meet(&device, &setup);
        drop(disk);
        outcome.met = u32::from(device.was_met());
        oracle.read(&setup.journal);
        outcome.acknowledged = oracle.acknowledged - start.oracle.acknowledged;

        let sound = scratch.path().join("sound");
        fs::create_dir(&sound).expect("a directory");
        for (name, bytes) in device.power_off() {
            fs::write(sound.join(name), bytes).expect("a copy");
        }
        drop(device);
        let shadow = if self.is_looped { sound.join("disk") } else { sound };
        let setup = Setup { shadow, direct: false, ..setup };
        self.check(&setup, &mut oracle, &mut outcome);
        outcome
    }

    /// Runs the child against the fault. The child has ended when it returns.
    fn meet(&self, device: &Device, setup: &Setup) -> Outcome {
        if let Open(nth) = self.when {
            device.arm(self.fault, nth);
        }
        let mut victim = Victim::start(&[], "finish", setup);
        if let Work(nth) = self.when {
            assert!(victim.hears("ready").is_some(), "{self:?}: {:?}", victim.said);
            device.arm(self.fault, nth);
        }
        victim.go_on();
        if self.fault == Fault::Held {
            self.hold(device, &mut victim);
        }
        let (status, complaints) = victim.finish();
        let said = |line: &str| u32::from(victim.said.iter().any(|said| said.starts_with(line)));
        assert!(!complaints.contains("panicked"), "{self:?}: {complaints}");
        assert!(status.success(), "{self:?}: {status} {complaints}");
        // Its reads were held against its puts before it said so.
        assert!(said("refused") + said("written") == 1, "{self:?}: {:?}", victim.said);
        let outcome = Outcome {
            refused: said("refused"),
            flushed: said("flushed"),
            closed: said("closed"),
            ..Outcome::default()
        };
        // One place that is bad costs no more than that.
        if self.fault.is_harmless() || self.is_lie() || self.fault == Fault::Sore {
            let goes_well = outcome.flushed == 1 && outcome.closed == 1;
            assert!(goes_well, "{self:?}: {:?}", victim.said);
        }
        outcome
    }

    /// While a write is held up, reads go on.
    fn hold(&self, device: &Device, victim: &mut Victim) {
        let deadline = Instant::now() + PATIENCE;
        while !device.is_held() && victim.runs() {
            assert!(Instant::now() < deadline, "{self:?}: nothing is held");
            thread::sleep(Duration::from_millis(1));
        }
        if let Work(_) = self.when {
            for _ in 0..3 {
                victim.wait_for("reads");
            }
        }
        device.release();
    }

    /// Holds what a sound disk with the device's bytes shows against the journal.
    fn check(&self, setup: &Setup, oracle: &mut Oracle, outcome: &mut Outcome) {
        let context = format!("{self:?}, {outcome:?}");
        let store = match setup.open() {
            Ok(store) => store,
            Err(error) if self.is_lie() => return say(&format!("{context}: {error}")),
            Err(error) => panic!("{context}: {error}"),
        };
        if self.is_lie() {
            outcome.lost = oracle.check_after_lies(&store, &context);
            outcome.reported = u32::from(store.health() != Health::Ok);
        } else if self.fault == Fault::Stuck {
            // It cuts writes within a sector, which the format takes for whole: the header of a
            // wblock that was begun anew may read as damaged. Nothing that counts was in there.
            outcome.reported = u32::from(store.health() != Health::Ok);
            oracle.check_keys(&store, &context);
        } else {
            oracle.check(&store, &context);
        }
        store.close().unwrap_or_else(|error| panic!("{context}: {error}"));
    }
}

fn run_all(cases: &[Case]) {
    let Some(first) = cases.first() else { return };
    let start = match first.start() {
        Ok(start) => start,
        Err(reason) => return skip::skip_cases(cases.len() as u64, &reason),
    };
    let outcomes = Mutex::new(BTreeMap::<String, Vec<Outcome>>::new());
    in_lanes(LANES, cases, |case| {
        let outcome = case.run(&start);
        let mut outcomes = outcomes.lock().expect("no lane has failed");
        outcomes.entry(format!("{:?}", case.fault)).or_default().push(outcome);
    });
    let mut met = 0;
    for (fault, outcomes) in outcomes.into_inner().expect("no lane has failed") {
        let sum = |count: fn(&Outcome) -> u32| outcomes.iter().map(count).sum::<u32>();
        met += sum(|outcome| outcome.met);
        say(&format!(
            "{fault}: {} cases, met in {}, open refused in {}, flushed in {}, closed in {}; {} \
             acknowledged; lost {} keys, reported in {}",
            outcomes.len(),
            sum(|outcome| outcome.met),
            sum(|outcome| outcome.refused),
            sum(|outcome| outcome.flushed),
            sum(|outcome| outcome.closed),
            outcomes.iter().map(|outcome| outcome.acknowledged).sum::<u64>(),
            outcomes.iter().map(|outcome| outcome.lost).sum::<usize>(),
            sum(|outcome| outcome.reported),
        ));
    }
    say(&format!("{} cases, the fault was met in {met}", cases.len()));
    assert!(met as usize * 4 > cases.len() * 3, "only {met} of {} are met", cases.len());
}

#[test]
fn whatever_a_device_does_nothing_durable_is_lost() {
    let seed = seed();
    let mut cases = Vec::new();
    for (number, (fault, positions)) in FAULTS.into_iter().enumerate() {
        for (at, when) in positions.into_iter().enumerate() {
            for prefer in [Prefer::Ring, Prefer::Blocking] {
                let direct = (number + at) % 2 == 1;
                let seed = (seed ^ (cases.len() as u64) << 32) >> 8;
                cases.push(Case { fault, when, prefer, direct, is_looped: false, seed });
            }
        }
    }
    run_all(&cases);
}

#[test]
fn whatever_a_block_device_does_nothing_durable_is_lost() {
    let seed = seed();
    let mut cases = Vec::new();
    for fault in [
        Fault::Error(libc::EIO),
        Fault::Errors(libc::EIO),
        Fault::Errors(libc::ENOSPC),
        Fault::Short,
        Fault::Shorts,
        Fault::Flipped,
        Fault::Slow,
        Fault::SyncError,
    ] {
        for prefer in [Prefer::Ring, Prefer::Blocking] {
            let (when, seed) = (Work(2), (seed ^ (cases.len() as u64) << 32) >> 8);
            cases.push(Case { fault, when, prefer, direct: true, is_looped: true, seed });
        }
    }
    run_all(&cases);
}
