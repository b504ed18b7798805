//! Whole stripes, index, gate, epoch and tickets at once: writers, a reader, a reclaimer and a
//! flusher, in a store so small that wblocks are used again and again.
#![cfg(shuttle)]
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a refusal fails the model")]

mod common;

use brindle::region::{Barriers, Cut, Gate, State, Stripes};
use brindle::shadow::{Requests, Tickets, Waited};
use brindle::sync::epoch::pin;
use brindle::unit::{Sequence, WBLOCK_HEADER_RBLOCKS, WblockId};
use common::{Found, KEYS, ROOM, Shape, Store, check};
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicU32, Ordering};
use shuttle::thread;
use std::collections::BTreeMap;
use std::sync::Mutex;

const END: u32 = WBLOCK_HEADER_RBLOCKS + ROOM;

const SHAPE: Shape = Shape {
    stripes: 1,
    wblocks_per_stripe: 4,
    kept_for_moves: 1,
    reclaimers: 1,
    has_shadow: false,
};

/// The used wblock of which the least is live.
fn choose(stripes: &Stripes) -> Option<WblockId> {
    let used = stripes.wblocks().filter(|(_, wblock)| wblock.state() == State::Used);
    used.map(|(wblock, _)| wblock).min_by_key(|wblock| stripes.live_rblocks(*wblock))
}

/// Moves out, or evicts, what is live in a wblock, and sends it through the gate.
fn reclaim(store: &Store, gate: &mut Gate, evicts: bool) {
    let Some(wblock) = choose(&store.stripes) else { return };
    if store.stripes.walk(wblock, WBLOCK_HEADER_RBLOCKS, END).complete < END {
        return; // a writer holds a reservation in it: another time
    }
    for (at, Found { key, .. }) in store.records(wblock, END) {
        if evicts {
            store.evict(key, at);
        } else if store.relocate(store.stripes.lane_of_reclaimer(0), key, at).is_none() {
            return;
        }
    }
    gate.enter(&store.stripes, wblock, false);
}

/// Versions of a key never go back, and each is read whole.
fn read(store: &Store, rounds: u32) {
    let mut newest = [0; KEYS as usize];
    for _ in 0..rounds {
        let guard = pin();
        for (key, newest) in (0..2).zip(&mut newest) {
            let Some(found) = store.find(&guard, key) else { continue };
            assert!(found.version >= *newest, "{found:?} after {newest}");
            *newest = found.version;
        }
    }
}

fn in_memory(evicts: bool) {
    let store = Store::new(SHAPE);
    let write = |writer: u8| {
        let store = Arc::clone(&store);
        // Full is no failure: the reclaimer may be late.
        thread::spawn(move || {
            for step in 0..4 {
                store.put(0, (writer + step) % 3, 3);
            }
        })
    };
    let mut threads: Vec<_> = (0..2).map(write).collect();
    let reader = Arc::clone(&store);
    threads.push(thread::spawn(move || read(&reader, 2)));
    let mut gate = Gate::default();
    for _ in 0..3 {
        reclaim(&store, &mut gate, evicts);
        gate.advance(&store.stripes, None, |_| true);
    }
    threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
    for _ in 0..3 {
        gate.advance(&store.stripes, None, |_| true);
    }
    assert_eq!(gate.count(), 0, "nobody holds a wblock up any more");
    store.check_accounts();
}

/// A life of a wblock on the device.
#[derive(Clone, Debug)]
struct Life {
    sequence: Sequence,
    records: Vec<Found>,
}

/// What a power cut would leave: by wblock, and by then synced or only written.
#[derive(Debug, Default)]
struct Device {
    written: BTreeMap<u32, Life>,
    synced: BTreeMap<u32, Life>,
    /// The version of each key that was acknowledged as durable.
    acked: [u8; KEYS as usize],
}

impl Device {
    /// A cold start, from what is synced and from all that is written, finds each key at the
    /// version that was acknowledged, or a later one (invariant 4).
    fn judge(&self) {
        for image in [&self.synced, &self.written] {
            for (key, acked) in (0..).zip(self.acked) {
                let of_key =
                    image.values().flat_map(|life| &life.records).filter(|found| found.key == key);
                let newest = of_key.map(|found| found.version).max().unwrap_or(0);
                assert!(newest >= acked, "key {key} is lost: {newest}, and {acked} was durable");
            }
        }
    }
}

/// As `shadow::flusher`, for a device that takes everything at once.
struct Flusher {
    store: Arc<Store>,
    tickets: Arc<Tickets>,
    requests: Arc<Requests>,
    device: Arc<Mutex<Device>>,
    /// By lane: the wblock that was flushed last, and how far.
    flushed: BTreeMap<u32, (WblockId, u32)>,
    flushes: u16,
}

impl Flusher {
    fn device(&self) -> std::sync::MutexGuard<'_, Device> {
        self.device.lock().expect("no model panics with it")
    }

    /// Somebody waits for a round.
    fn is_wanted(&self) -> bool {
        self.tickets.requested() > self.tickets.completed()
    }

    /// Everything up to the cuts of this round; then the tickets from before it are served.
    fn round(&mut self) {
        let ticket = self.tickets.requested();
        for lane in 0..self.store.stripes.lanes() {
            self.flush(lane);
        }
        {
            let mut device = self.device();
            device.synced = device.written.clone();
            device.judge();
        }
        self.tickets.complete(ticket);
    }

    /// Strikes out at once what is asked for: whoever asks knows that a barrier is through.
    fn strike(&self) {
        for wblock in self.requests.take_strikes() {
            let state = self.store.stripes.wblock(wblock).state();
            assert_eq!(state, State::Quarantined, "{wblock:?} is struck out while it is in use");
            self.store.stripes.write_struck_header(wblock);
            let mut device = self.device();
            device.written.remove(&wblock.0);
            device.synced.remove(&wblock.0);
            device.judge();
            drop(device);
            self.store.stripes.wblock(wblock).enter(State::Struck);
        }
    }

    fn flush(&mut self, lane: u32) {
        let store = Arc::clone(&self.store);
        let stripes = &store.stripes;
        let Some(newest) = stripes.newest(lane) else { return };
        let last = self.flushed.get(&lane).copied();
        let mut chain = vec![newest];
        while let Some(wblock) =
            chain.last().copied().filter(|at| last.is_none_or(|(last, _)| last != *at))
        {
            let Some(previous) = stripes.wblock(wblock).previous() else { break };
            chain.push(previous);
        }
        for wblock in chain.into_iter().rev() {
            let flushed =
                last.filter(|(last, _)| *last == wblock).map_or(0, |(_, flushed)| flushed);
            if flushed == END {
                continue;
            }
            self.flushes += 1;
            let until = match stripes.cut(lane, wblock, flushed, self.flushes) {
                Cut::Nothing => return,
                Cut::Until(rblock) => rblock,
                Cut::Sealed => END,
            };
            // Whoever has reserved commits soon.
            while stripes.walk(wblock, WBLOCK_HEADER_RBLOCKS, until).complete < until {
                thread::yield_now();
            }
            let records =
                store.records(wblock, until).into_iter().map(|(_, found)| found).collect();
            let life = Life { sequence: stripes.wblock(wblock).sequence(), records };
            let before = self.device().written.insert(wblock.0, life.clone());
            let is_free = before.is_none_or(|before| before.sequence == life.sequence);
            assert!(is_free, "wblock {wblock:?} was opened again before its header was struck out");
            self.flushed.insert(lane, (wblock, until));
            if until == END {
                stripes.flushed(wblock);
            }
        }
    }
}

fn with_a_shadow() {
    let store = Store::new(Shape { wblocks_per_stripe: 5, has_shadow: true, ..SHAPE });
    let tickets = Arc::new(Tickets::new());
    let requests = Requests::new(Arc::clone(&store.stripes), Arc::clone(&tickets), 0);
    let requests = Arc::new(requests);
    let device = Arc::new(Mutex::new(Device::default()));
    let left = Arc::new(AtomicU32::new(3));
    let write = |writer: u8| {
        let (store, tickets, requests) =
            (Arc::clone(&store), Arc::clone(&tickets), Arc::clone(&requests));
        let (device, left) = (Arc::clone(&device), Arc::clone(&left));
        thread::spawn(move || {
            for step in 0..3 {
                let key = (writer + step) % 2;
                let Some(version) = store.put(0, key, 3) else { continue };
                if step != 1 {
                    assert_eq!(tickets.wait(requests.barrier()), Waited::Durable);
                    let mut device = device.lock().expect("no model panics with it");
                    let acked = device.acked.get_mut(usize::from(key)).expect("a key");
                    *acked = version.max(*acked);
                    device.judge();
                }
            }
            left.fetch_sub(1, Ordering::AcqRel);
        })
    };
    let threads: Vec<_> = (0..2).map(write).collect();
    let flusher = {
        let (flushed, flushes, left) = (BTreeMap::new(), 0, Arc::clone(&left));
        let (store, tickets, requests) =
            (Arc::clone(&store), Arc::clone(&tickets), Arc::clone(&requests));
        let device = Arc::clone(&device);
        let mut flusher = Flusher { store, tickets, requests, device, flushed, flushes };
        thread::spawn(move || {
            while left.load(Ordering::Acquire) > 0 {
                flusher.strike();
                if flusher.is_wanted() {
                    flusher.round();
                }
                thread::yield_now();
            }
            flusher
        })
    };
    let mut gate = Gate::default();
    for _ in 0..3 {
        reclaim(&store, &mut gate, false);
        for _ in 0..2 {
            gate.advance(&store.stripes, Some(&*requests), |_| true);
            thread::yield_now();
        }
    }
    left.fetch_sub(1, Ordering::AcqRel);
    threads.into_iter().for_each(|thread| thread.join().expect("a writer"));
    let mut flusher = flusher.join().expect("the flusher");
    for _ in 0..6 {
        gate.advance(&store.stripes, Some(&*requests), |_| true);
        flusher.strike();
        flusher.round();
    }
    assert_eq!(gate.count(), 0, "nobody holds a wblock up any more");
    store.check_accounts();
}

#[test]
fn moved_and_overwritten_records_are_whole_and_never_go_back() {
    check("moves", || in_memory(false));
}

#[test]
fn evicted_and_overwritten_records_are_whole_and_never_go_back() {
    check("evictions", || in_memory(true));
}

#[test]
fn what_was_durable_outlives_moves_strikes_and_reuse() {
    check("shadow", with_a_shadow);
}
