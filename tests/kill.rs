//! SIGKILL of a process in the middle of its work, again and again, on real files.
//!
//! The child writes to a journal what it is about to do, and afterwards what is known to be
//! durable; the journal outlives it. The parent opens the store and holds it against the journal:
//! each key is at the last state known to be durable or at one submitted after that (invariant 4),
//! what was deleted or has expired stays dead (invariant 5), and nothing else is there.
//!
//! A killed process leaves behind exactly what its system calls did, at any point between or in
//! them; `kill_points` goes through those one by one. Power cuts are the part of `power_cut` and
//! of the simulated disk.
//!
//! `BRINDLE_KILLS` sets the number of cycles, `BRINDLE_FULL_SIZED_KILLS` that with wblocks of
//! 8 MiB, `BRINDLE_SEED` repeats a run.
#![expect(clippy::expect_used, reason = "a failed step of a test is the test's failure")]

#[path = "common_files/child.rs"]
mod child;
#[path = "common_faults/mod.rs"]
mod faults;
#[path = "common_files/rng.rs"]
mod rng;

use brindle::testing::Prefer;
use faults::oracle::Oracle;
use faults::victim::Victim;
use faults::work::{self, Setup};
use faults::{amount, say, seed};
use rng::Rng;
use std::thread;
use std::time::Duration;

/// Cycles that one store lives through.
const CYCLES_A_STORE: u64 = 6;
/// Threads of this test that each kill children of their own; mostly they wait.
const LANES: u64 = 4;
const KILLS: u64 = 72;

/// The child's part: opens the store and writes until it is killed or the store is full.
#[test]
fn child_entry() {
    work::play();
}

/// `cycles` kills of children on stores of `wblock_bytes`, by one thread.
fn lane(seed: u64, cycles: u64, wblock_bytes: u64) -> Oracle {
    let mut rng = Rng::new(seed);
    let mut total = Oracle::default();
    let mut done = 0;
    while done < cycles {
        let scratch = tempfile::tempdir().expect("a directory");
        let paths = || (scratch.path().join("shadow"), scratch.path().join("journal"));
        let mut oracle = Oracle::default();
        for cycle in 0..CYCLES_A_STORE.min(cycles - done) {
            let (shadow, journal) = paths();
            let setup = Setup {
                wblock_bytes,
                prefer: either(&mut rng),
                ..Setup::new(shadow, journal, rng.next() >> 8).run(done)
            };
            let context = format!("seed {seed:#x}, cycle {done}, {setup:?}");
            kill_one(&setup, &mut rng);
            oracle.read(&setup.journal);
            done += 1;
            oracle.kills += 1;
            // Sometimes the next child finds what the last one left, unseen by anyone between.
            if cycle + 1 < CYCLES_A_STORE && rng.below(4) == 0 {
                continue;
            }
            check(&setup, &mut oracle, &mut rng, &context);
        }
        let context = format!("seed {seed:#x}, the end of a store");
        let (shadow, journal) = paths();
        let setup = Setup { wblock_bytes, ..Setup::new(shadow, journal, 0) };
        check(&setup, &mut oracle, &mut rng, &context);
        total.count(&oracle);
    }
    total
}

fn either(rng: &mut Rng) -> Prefer {
    if rng.below(2) == 0 { Prefer::Ring } else { Prefer::Blocking }
}

/// Starts a child, and kills it while it opens its store or while it writes.
fn kill_one(setup: &Setup, rng: &mut Rng) {
    let mut victim = Victim::start(&[], "write", setup);
    let is_early = rng.below(4) == 0;
    victim.wait_for(if is_early { "opening" } else { "ready" });
    let micros = if is_early { rng.below(12_000) } else { rng.below(120_000) };
    thread::sleep(Duration::from_micros(micros));
}

/// Opens the store that was killed, by either back end, and closes it in order.
fn check(setup: &Setup, oracle: &mut Oracle, rng: &mut Rng, context: &str) {
    let setup = Setup { prefer: either(rng), ..setup.clone() };
    let store = setup.open().unwrap_or_else(|error| panic!("{context}: {error}"));
    oracle.check(&store, context);
    store.close().unwrap_or_else(|error| panic!("{context}: {error}"));
}

fn kill_all(cycles: u64, wblock_bytes: u64) {
    let seed = seed();
    let lanes: Vec<_> = (0..LANES)
        .map(|lane_number| {
            let seed = seed.wrapping_add(lane_number << 60);
            thread::spawn(move || lane(seed, cycles.div_ceil(LANES), wblock_bytes))
        })
        .collect();
    for lane in lanes {
        match lane.join() {
            Ok(total) => say(&format!(
                "{} kills, {} writes, {} of them acknowledged as durable",
                total.kills, total.writes, total.acknowledged
            )),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

#[test]
fn a_killed_store_has_all_that_was_durable() {
    kill_all(amount("BRINDLE_KILLS", KILLS), 64 << 10);
}

#[test]
fn a_killed_store_of_full_sized_wblocks_has_all_that_was_durable() {
    let default = amount("BRINDLE_KILLS", KILLS).div_ceil(25);
    kill_all(amount("BRINDLE_FULL_SIZED_KILLS", default), 8 << 20);
}
