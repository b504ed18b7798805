//! How space comes back (`region::gate`, and what `upkeep::reclaim` does to a record), on the real
//! stripes, index, gate, epoch and tickets.
//!
//! The bytes of a record are its key and version, in each of its rblocks: a reader judges by them
//! whether what it found is whole, and loom whether it was its to read. `put` does what the write
//! loop of the store does, step by step, and `relocate` what `upkeep::reclaim::fate` does: these
//! files need more of the crate than is built here.
//!
//! `weaken.sh` has what was weakened, and was caught.
#![cfg(loom)]
#![expect(clippy::expect_used, reason = "a refusal fails the model")]

use brindle::format::{StoreId, StoreKey};
use brindle::index::{Forgotten, Hash, Index, Occupied, Place, Records};
use brindle::region::{
    Cut, Gate, Identity, NoRoom, NowUs, Purpose, Region, Reservation, State, Stripes,
};
use brindle::shadow::{Requests, Tickets};
use brindle::sync::epoch::{Guard, pin};
use brindle::unit::{Geometry, Location, RBLOCK_BYTES, Sequence, WBLOCK_HEADER_RBLOCKS, WblockId};
use loom::sync::Arc;
use loom::thread;
use std::num::NonZeroU32;

/// Rblocks of a wblock that records can have.
const ROOM: u32 = 8;

fn model(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 5_000;
    builder.check(body);
}

#[derive(Clone, Copy)]
struct Shape {
    stripes: u32,
    wblocks_per_stripe: u32,
    kept_for_moves: u32,
    reclaimers: u32,
    has_shadow: bool,
}

const IN_MEMORY: Shape = Shape {
    stripes: 1,
    wblocks_per_stripe: 2,
    kept_for_moves: 0,
    reclaimers: 0,
    has_shadow: false,
};

const MIRRORED: Shape = Shape { wblocks_per_stripe: 3, has_shadow: true, ..IN_MEMORY };

/// Stripes of which no wblock is free yet.
fn stripes(shape: Shape) -> Arc<Stripes> {
    let Shape { stripes, wblocks_per_stripe, kept_for_moves, reclaimers, has_shadow } = shape;
    let wblock_bytes = (WBLOCK_HEADER_RBLOCKS + ROOM) * RBLOCK_BYTES;
    let geometry = Geometry { wblock_bytes, stripes, wblocks_per_stripe };
    let store_id = StoreId([7; 16]);
    let store_key = StoreKey::of(&store_id);
    let kept_for_deletes = kept_for_moves;
    let identity =
        Identity { store_id, store_key, kept_for_moves, kept_for_deletes, reclaimers, has_shadow };
    let now_us = NowUs(Box::new(|| 0));
    Arc::new(Stripes::new(Region::model(geometry), identity, Sequence(1), now_us))
}

/// A key with another home bucket: the others fill theirs, and the next, with two.
const ELSEWHERE: u8 = 6;

/// Even keys go to the lower half of a split.
fn hash(key: u8) -> Hash {
    let home = if key == ELSEWHERE { u64::from(u32::MAX) } else { 0 };
    let key = u64::from(key);
    Hash((key % 2) << 63 | (key / 2 % 2) << 62 | (key / 4) << 61 | (key + 1) << 44 | home)
}

/// A record, as a reader finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    key: u8,
    version: u8,
    rblocks: u32,
}

struct Store {
    stripes: Arc<Stripes>,
    index: Index,
}

struct Keys<'a>(&'a Store);

impl Records for Keys<'_> {
    fn hash_at(&self, location: Location) -> Hash {
        hash(self.0.read(location).key)
    }
}

impl Store {
    fn new(shape: Shape) -> Arc<Self> {
        let stripes = stripes(shape);
        for wblock in 0..stripes.geometry().wblocks() {
            stripes.release(WblockId(wblock));
        }
        Arc::new(Self { stripes, index: Index::new(0).expect("memory") })
    }

    /// The record at `at`, of which the index or a walk has told.
    fn read(&self, at: Location) -> Found {
        let rblocks = self.stripes.word_of(at).rblocks().map_or(0, NonZeroU32::get);
        let marks = self.stripes.region().read(at, rblocks);
        let mark = *marks.first().expect("a record is shown before it is published");
        assert!(mark != 0 && marks.iter().all(|other| *other == mark), "whole: {marks:?}");
        let [mark, ..] = mark.to_le_bytes();
        Found { key: mark >> 4, version: mark & 15, rblocks }
    }

    fn is_key(&self, key: u8) -> impl FnMut(Location) -> bool {
        move |at| self.read(at).key == key
    }

    fn find(&self, guard: &Guard, key: u8) -> Option<Found> {
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
        let mark = record.key << 4 | record.version;
        space.fill(8, &vec![mark; (record.rblocks * RBLOCK_BYTES - 8) as usize]);
        space.show();
        Ok(space)
    }

    fn bury(&self, at: Location, rblocks: u32) {
        self.stripes.wblock(self.stripes.geometry().wblock(at)).bury(rblocks);
    }

    /// As `store::write`: judge, append, publish, bury, commit. `None`: there is no room.
    fn put_under(&self, guard: &Guard, record: Found) -> Option<Location> {
        let mut pending = None;
        loop {
            let key = record.key;
            let place = self.index.search(
                guard,
                &Keys(self),
                self.index.start(guard, hash(key)),
                self.is_key(key),
            );
            let place = place.expect("the index can grow");
            let old = match &place {
                Place::Occupied(entry) => Some((entry.location(), self.read(entry.location()))),
                Place::Vacant(_) => None,
            };
            assert!(old.is_none_or(|(_, old)| old.version < record.version), "the newest so far");
            let space = match pending.take() {
                Some(space) => space,
                None => self.append(guard, (0, Purpose::Put), record).ok()?,
            };
            let published = match &place {
                Place::Occupied(entry) => entry.replace(space.location()),
                Place::Vacant(vacant) => vacant.insert(space.location()),
            };
            if published.is_err() {
                pending = Some(space);
                continue;
            }
            if let Some((at, old)) = old {
                self.bury(at, old.rblocks);
            }
            return Some(space.commit());
        }
    }

    fn put(&self, key: u8, version: u8, rblocks: u32) -> Option<Location> {
        self.put_under(&pin(), Found { key, version, rblocks })
    }

    /// As `upkeep::reclaim`: moves the record at `at`, if the index still names it. True: it did,
    /// and names the copy now, or did for a moment.
    fn relocate(&self, lane: u32, key: u8, at: Location) -> bool {
        let guard = pin();
        loop {
            let Some(entry) = self.entry(&guard, key, at) else { return false };
            let old = self.read(at);
            let space = self.append(&guard, (lane, Purpose::Move), old).expect("room is kept back");
            if entry.replace(space.location()).is_err() {
                // The copy is dropped, and becomes padding.
                continue;
            }
            space.commit();
            self.bury(at, old.rblocks);
            return true;
        }
    }

    fn entry<'g>(&'g self, guard: &'g Guard, key: u8, at: Location) -> Option<Occupied<'g>> {
        let place = self.index.search_occupied(guard, &Keys(self), hash(key), |found| found == at);
        place.expect("memory")
    }

    fn wblock_of(&self, at: Location) -> WblockId {
        self.stripes.geometry().wblock(at)
    }

    fn live_rblocks(&self) -> u64 {
        (0..self.stripes.geometry().wblocks())
            .map(|at| self.stripes.live_rblocks(WblockId(at)))
            .sum()
    }
}

/// The pin before the last look at the gate is the installer's: with one taken after it, the fence
/// of the pin would stand in for the passage's edge.
#[test]
fn a_wblock_is_not_opened_again_under_a_reader() {
    model(3, || {
        let store = Store::new(IN_MEMORY);
        let first = store.put(0, 1, ROOM).expect("room");
        let reader = {
            let store = Arc::clone(&store);
            thread::spawn(move || store.find(&pin(), 0).expect("never absent").version)
        };
        let mut gate = Gate::default();
        store.put(0, 2, ROOM).expect("room");
        gate.enter(&store.stripes, store.wblock_of(first), false);
        thread::yield_now(); // else loom does not let the reader come first
        let mut freed = gate.advance(&store.stripes, None, |_| true);
        let guard = pin();
        freed += gate.advance(&store.stripes, None, |_| true);
        let again = store.put_under(&guard, Found { key: 0, version: 3, rblocks: ROOM });
        assert_eq!(again, (freed == 1).then_some(first), "the same place");
        drop(guard);
        let version = reader.join().expect("reader");
        assert!((1..=3).contains(&version), "{version}");
    });
}

#[test]
fn what_nothing_is_live_in_no_later_reader_finds() {
    model(2, || {
        let store = Store::new(IN_MEMORY);
        let first = store.put(0, 1, ROOM).expect("room");
        let (writing, reading) = (Arc::clone(&store), Arc::clone(&store));
        let writer = thread::spawn(move || writing.put(0, 2, ROOM).expect("room"));
        let reader = thread::spawn(move || reading.find(&pin(), 0).expect("never absent"));
        thread::yield_now(); // else loom does not let the writer come first
        let (stripes, wblock) = (&store.stripes, store.wblock_of(first));
        if stripes.wblock(wblock).state() == State::Used && stripes.live_rblocks(wblock) == 0 {
            let mut gate = Gate::default();
            gate.enter(stripes, wblock, false);
            let mut freed = gate.advance(stripes, None, |_| true);
            freed += gate.advance(stripes, None, |_| true);
            let again = store.put(1, 1, ROOM);
            assert_eq!(again, (freed == 1).then_some(first), "the same place");
        }
        writer.join().expect("writer");
        reader.join().expect("reader");
    });
}

/// As the cleaner leaves a wblock: no entry names it, and who took one out may be about to bury.
#[test]
fn what_is_buried_late_is_not_taken_from_the_next_life() {
    model(3, || {
        let store = Store::new(Shape { wblocks_per_stripe: 3, reclaimers: 1, ..IN_MEMORY });
        let first = store.put(0, 1, ROOM).expect("room");
        let writing = Arc::clone(&store);
        // Its room may be gone by then.
        let writer = thread::spawn(move || writing.put(0, 2, ROOM));
        thread::yield_now(); // else loom does not let the writer come first
        let (stripes, wblock) = (&store.stripes, store.wblock_of(first));
        let mut again = None;
        if stripes.wblock(wblock).state() == State::Used {
            store.relocate(1, 0, first);
            let mut gate = Gate::default();
            gate.enter(stripes, wblock, false);
            let mut freed = gate.advance(stripes, None, |_| true);
            freed += gate.advance(stripes, None, |_| true);
            again = store.put(1, 1, ROOM);
            assert!(freed == 1 || again != Some(first), "opened, and not freed");
        }
        writer.join().expect("writer");
        let live = if again.is_some() { 2 * ROOM } else { ROOM };
        assert_eq!(store.live_rblocks(), u64::from(live));
    });
}

/// How far a flush of the one lane goes, as the flusher decides it.
struct Flush {
    before: WblockId,
    newest: WblockId,
    until: u32,
}

impl Flush {
    /// Up to now `before` was the newest wblock of the lane, and flushed up to `flushed`.
    fn begin(stripes: &Stripes, before: WblockId, flushed: u32) -> Self {
        let newest = stripes.newest(0).expect("a wblock was opened");
        let flushed = if newest == before { flushed } else { 0 };
        let until = match stripes.cut(0, newest, flushed, 1) {
            Cut::Nothing => flushed,
            Cut::Until(rblock) => rblock,
            Cut::Sealed => WBLOCK_HEADER_RBLOCKS + ROOM,
        };
        Self { before, newest, until }
    }

    fn covers(&self, stripes: &Stripes, at: Location) -> bool {
        let (wblock, rblock) = (stripes.geometry().wblock(at), stripes.geometry().rblock(at));
        if wblock == self.newest { rblock < self.until } else { wblock == self.before }
    }

    /// Once the writers are through.
    fn is_complete(&self, stripes: &Stripes) -> bool {
        let walk = stripes.walk(self.newest, WBLOCK_HEADER_RBLOCKS, self.until);
        let _ = stripes.region().read(stripes.geometry().location(self.newest, 0), walk.data_end);
        walk.complete == self.until.max(WBLOCK_HEADER_RBLOCKS)
    }
}

/// Two records that fill a wblock, which is used; what replaces them goes to the next, of which a
/// flush has taken half.
fn half_flushed() -> (Arc<Store>, WblockId, (WblockId, u32)) {
    let store = Store::new(MIRRORED);
    let first = store.put(0, 1, ROOM / 2).expect("room");
    store.put(1, 1, ROOM / 2).expect("room");
    let next = store.wblock_of(store.put(ELSEWHERE, 1, 1).expect("room"));
    let wblock = store.wblock_of(first);
    store.stripes.flushed(wblock);
    let Cut::Until(flushed) = store.stripes.cut(0, next, 0, 0) else { panic!("one record") };
    (store, wblock, (next, flushed))
}

/// True, and with a ticket, if nothing in `wblock` is live.
fn frees(gate: &mut Gate, store: &Store, wblock: WblockId, requests: &Requests) -> bool {
    let stripes = &store.stripes;
    let is_empty =
        stripes.wblock(wblock).state() == State::Used && stripes.live_rblocks(wblock) == 0;
    if is_empty {
        gate.enter(stripes, wblock, false);
        gate.advance(stripes, Some(requests), |_| panic!("nothing is left in it"));
        assert_eq!(gate.waiting().barrier, 1);
    }
    is_empty
}

fn superseding_records_are_covered(rblocks: u32) {
    let (store, wblock, (next, flushed)) = half_flushed();
    let write = |key| {
        let store = Arc::clone(&store);
        thread::spawn(move || store.put(key, 2, rblocks).expect("room"))
    };
    let (first, second) = (write(0), write(1));
    let tickets = Arc::new(Tickets::new());
    let requests = Requests::new(Arc::clone(&store.stripes), Arc::clone(&tickets), 0);
    let mut gate = Gate::default();
    thread::yield_now(); // else loom does not let the writers come first
    let is_empty = frees(&mut gate, &store, wblock, &requests);
    let flush = is_empty.then(|| {
        assert_eq!(tickets.requested(), 1);
        Flush::begin(&store.stripes, next, flushed)
    });
    let (first, second) = (first.join().expect("first"), second.join().expect("second"));
    if let Some(flush) = flush {
        assert!(flush.covers(&store.stripes, first), "before the ticket");
        assert!(flush.covers(&store.stripes, second), "before the ticket");
        assert!(flush.is_complete(&store.stripes));
    }
    assert_eq!(store.stripes.live_rblocks(wblock), 0);
}

#[test]
fn the_barrier_of_an_emptied_wblock_covers_what_superseded_its_records() {
    model(2, || superseding_records_are_covered(2));
}

/// The one of them that comes second opens a wblock.
#[test]
fn the_barrier_covers_it_in_the_next_wblock_too() {
    model(2, || superseding_records_are_covered(3));
}

/// Writer, reclaimer and flusher, each on a thread of its own: the ticket alone passes on to the
/// flusher what the reclaimer learnt from the count.
#[test]
fn what_the_count_tells_comes_with_the_ticket() {
    model(3, || {
        let store = Store::new(MIRRORED);
        let first = store.put(0, 1, ROOM).expect("room");
        let next = store.wblock_of(store.put(ELSEWHERE, 1, 1).expect("room"));
        store.stripes.flushed(store.wblock_of(first));
        let Cut::Until(flushed) = store.stripes.cut(0, next, 0, 0) else { panic!("one record") };
        let tickets = Arc::new(Tickets::new());
        let requests = Requests::new(Arc::clone(&store.stripes), Arc::clone(&tickets), 0);
        let writing = Arc::clone(&store);
        let writer = thread::spawn(move || writing.put(0, 2, 2).expect("room"));
        let stripes = Arc::clone(&store.stripes);
        let flusher = thread::spawn(move || {
            (tickets.requested() > 0).then(|| Flush::begin(&stripes, next, flushed))
        });
        thread::yield_now(); // else loom does not let the writer come first
        frees(&mut Gate::default(), &store, store.wblock_of(first), &requests);
        let second = writer.join().expect("writer");
        if let Some(flush) = flusher.join().expect("flusher") {
            assert!(flush.covers(&store.stripes, second), "before the ticket");
        }
    });
}

/// With the flusher on its own thread; then the header is struck out and the wblock free.
#[test]
fn the_flusher_of_the_ticket_sees_what_it_has_to_cover() {
    model(3, || {
        let (store, wblock, (next, flushed)) = half_flushed();
        let tickets = Arc::new(Tickets::new());
        let requests = Requests::new(Arc::clone(&store.stripes), Arc::clone(&tickets), 0);
        let requests = Arc::new(requests);
        let flusher = {
            let (stripes, tickets) = (Arc::clone(&store.stripes), Arc::clone(&tickets));
            thread::spawn(move || {
                let ticket = tickets.requested();
                (ticket > 0).then(|| {
                    let flush = Flush::begin(&stripes, next, flushed);
                    assert!(flush.is_complete(&stripes), "all was committed before the ticket");
                    tickets.complete(ticket);
                    flush
                })
            })
        };
        let first = store.put(0, 2, 2).expect("room");
        let second = store.put(1, 2, 2).expect("room");
        let mut gate = Gate::default();
        assert!(frees(&mut gate, &store, wblock, &requests));
        thread::yield_now(); // else loom does not let the flusher come first
        gate.advance(&store.stripes, Some(&*requests), |_| true);
        let strikes = requests.take_strikes();
        if let Some(flush) = flusher.join().expect("flusher") {
            assert!(flush.covers(&store.stripes, first), "before the ticket");
            assert!(flush.covers(&store.stripes, second), "before the ticket");
        } else {
            assert_eq!(strikes, [], "struck out without a flush");
        }
        if !strikes.is_empty() {
            store.stripes.write_struck_header(wblock);
            assert_eq!(
                gate.advance(&store.stripes, Some(&*requests), |_| true),
                0,
                "not struck yet"
            );
            store.stripes.wblock(wblock).enter(State::Struck);
            assert_eq!(gate.advance(&store.stripes, Some(&*requests), |_| true), 1);
        }
    });
}

/// A wblock with two records, of which the second was moved already: its reclaimer has a wblock.
fn being_emptied() -> (Arc<Store>, Location) {
    let store = Store::new(Shape { reclaimers: 1, ..MIRRORED });
    let first = store.put(0, 1, 2).expect("room");
    let second = store.put(1, 1, 1).expect("room");
    assert!(store.relocate(1, 1, second));
    (store, first)
}

/// After a put of version 2 and a move of version 1, whichever came first.
fn check_moved(store: &Store, was_moved: bool) {
    assert_eq!(store.find(&pin(), 0).map(|found| found.version), Some(2));
    assert_eq!(store.live_rblocks(), 2 + 1, "each superseded record was buried once");
    let (wblock, position) = store.stripes.open_rblocks(1).expect("open");
    let walk = store.stripes.walk(wblock, WBLOCK_HEADER_RBLOCKS, position);
    assert_eq!(walk.complete, position, "what lost is padding, and no hole");
    let copy = store.stripes.geometry().location(wblock, WBLOCK_HEADER_RBLOCKS + 1);
    if position > WBLOCK_HEADER_RBLOCKS + 1 {
        assert_eq!(store.stripes.word_of(copy).is_padding(), !was_moved, "what lost is no record");
    } else {
        assert!(!was_moved);
    }
}

/// A read sets the bit that eviction asks for, beside an update and then a move: it undoes neither.
#[test]
fn a_read_that_is_noted_undoes_neither_an_update_nor_a_move() {
    model(2, || {
        let (store, first) = being_emptied();
        let reader = {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                let guard = pin();
                let start = store.index.start(&guard, hash(0));
                let at = store.index.find_from(&guard, &start, store.is_key(0), true);
                store.read(at.expect("it is there all the time")).version
            })
        };
        let second = store.put(0, 2, 2).expect("room");
        assert!(store.relocate(1, 0, second));
        assert!((1..=2).contains(&reader.join().expect("reader")));
        assert_eq!(store.find(&pin(), 0).map(|found| found.version), Some(2));
        assert!(store.entry(&pin(), 0, first).is_none(), "the update was undone");
        assert!(store.entry(&pin(), 0, second).is_none(), "the move was undone");
    });
}

#[test]
fn of_an_update_and_a_move_the_update_stays() {
    model(3, || {
        let (store, first) = being_emptied();
        let writing = Arc::clone(&store);
        let writer = thread::spawn(move || writing.put(0, 2, 2).expect("room"));
        let was_moved = store.relocate(1, 0, first);
        writer.join().expect("writer");
        check_moved(&store, was_moved);
    });
}

#[test]
fn readers_beside_an_update_and_a_move_see_one_whole_and_never_go_back() {
    model(1, || {
        let (store, first) = being_emptied();
        let (writing, reading) = (Arc::clone(&store), Arc::clone(&store));
        let writer = thread::spawn(move || writing.put(0, 2, 2).expect("room"));
        let reader = thread::spawn(move || {
            let guard = pin();
            let version = || reading.find(&guard, 0).expect("never absent").version;
            let (first, second) = (version(), version());
            assert!(second >= first, "{second} after {first}");
        });
        thread::yield_now(); // else loom does not let the others come first
        let was_moved = store.relocate(1, 0, first);
        writer.join().expect("writer");
        reader.join().expect("reader");
        check_moved(&store, was_moved);
    });
}

/// A move, then an update, or the other way round, by one thread.
#[test]
fn a_reader_sees_the_moved_copy_whole_and_never_goes_back() {
    for is_moved_first in [true, false] {
        model(3, move || {
            let (store, first) = being_emptied();
            let writing = Arc::clone(&store);
            let writer = thread::spawn(move || {
                let early = is_moved_first && writing.relocate(1, 0, first);
                writing.put(0, 2, 2).expect("room");
                let late = !is_moved_first && writing.relocate(1, 0, first);
                assert_eq!((early, late), (is_moved_first, false));
            });
            let guard = pin();
            thread::yield_now(); // else loom does not let the writer come first
            let version = || store.find(&guard, 0).expect("never absent").version;
            let (first, second) = (version(), version());
            assert!(second >= first, "{second} after {first}");
            drop(guard);
            writer.join().expect("writer");
            check_moved(&store, is_moved_first);
        });
    }
}

/// S7 of `region::stripe`: what is refused never looks like a record to the flusher.
#[test]
fn the_flusher_never_takes_a_moved_copy_that_loses() {
    model(2, || {
        let (store, first) = being_emptied();
        let (writing, flushing) = (Arc::clone(&store), Arc::clone(&store));
        let writer = thread::spawn(move || writing.put(0, 2, 2).expect("room"));
        let flusher = thread::spawn(move || {
            let stripes = &flushing.stripes;
            let (wblock, position) = stripes.open_rblocks(1).expect("open");
            let copy = WBLOCK_HEADER_RBLOCKS + 1;
            let walk = stripes.walk(wblock, copy, position);
            let word = stripes.word_of(stripes.geometry().location(wblock, copy));
            walk.complete > copy && !word.is_padding()
        });
        let was_moved = store.relocate(1, 0, first);
        writer.join().expect("writer");
        let was_taken = flusher.join().expect("flusher");
        assert!(was_moved || !was_taken, "a copy that lost was taken to the shadow");
        check_moved(&store, was_moved);
    });
}

/// Takes a wblock for `lane`.
fn take(
    stripes: &Arc<Stripes>,
    lane: u32,
    purpose: Purpose,
) -> thread::JoinHandle<Option<WblockId>> {
    let stripes = Arc::clone(stripes);
    thread::spawn(move || {
        let guard = pin();
        let space = stripes.reserve(&guard, lane, 1, purpose).ok()?;
        Some(stripes.geometry().wblock(space.commit()))
    })
}

#[test]
fn two_lanes_that_take_while_one_is_released_never_get_the_same() {
    model(3, || {
        let stripes = stripes(Shape { stripes: 2, wblocks_per_stripe: 1, ..IN_MEMORY });
        stripes.release(WblockId(1));
        let (own, thief) = (take(&stripes, 1, Purpose::Put), take(&stripes, 0, Purpose::Put));
        stripes.release(WblockId(0));
        let taken = [own.join().expect("own"), thief.join().expect("thief")];
        let count = taken.iter().flatten().count() as u64;
        assert!(count >= 1, "one was free before");
        assert!(count == 1 || taken[0] != taken[1], "two owners: {taken:?}");
        assert_eq!(stripes.free_wblocks(), 2 - count);
        for (lane, _) in taken.iter().enumerate().filter(|(_, taken)| taken.is_none()) {
            let lane = u32::try_from(1 - lane).expect("small");
            let late = take(&stripes, lane, Purpose::Put).join().expect("late");
            assert!(late.is_some() && !taken.contains(&late), "none is lost");
        }
    });
}

#[test]
fn puts_leave_the_kept_back_wblock_to_a_move() {
    model(3, || {
        let shape = Shape { stripes: 2, wblocks_per_stripe: 1, kept_for_moves: 1, ..IN_MEMORY };
        let stripes = stripes(Shape { reclaimers: 1, ..shape });
        stripes.release(WblockId(0));
        stripes.release(WblockId(1));
        let (first, second) = (take(&stripes, 0, Purpose::Put), take(&stripes, 1, Purpose::Put));
        let moved = {
            let guard = pin();
            let space = stripes.reserve(&guard, 2, 1, Purpose::Move);
            space.map(|space| stripes.geometry().wblock(space.commit()))
        };
        let puts = [first.join().expect("first"), second.join().expect("second")];
        let moved = moved.expect("kept back for moves");
        assert!(puts.iter().flatten().count() <= 1, "both put: {puts:?}");
        assert!(!puts.contains(&Some(moved)), "two owners");
        // A put may be refused what it has just opened: by then it was kept back.
        let opened = (0..2).filter(|lane| stripes.newest(*lane).is_some()).count() as u64;
        assert!(opened <= 1, "puts took what is kept back");
        assert_eq!(stripes.free_wblocks(), 1 - opened);
    });
}

/// `then` is put, by who has removed key 0; a put of key 0 looks beside it, on a thread of its own:
/// after a yield, loom shows no thread the values that it has seen before.
fn forgets(others: &'static [u8], then: Option<u8>) {
    let store = Store::new(IN_MEMORY);
    let at = store.put(0, 1, 1).expect("room");
    for key in others {
        store.put(*key, 1, 1).expect("room");
    }
    let forgotten = Arc::new(Forgotten::new());
    let putter = {
        let (store, forgotten) = (Arc::clone(&store), Arc::clone(&forgotten));
        thread::spawn(move || {
            let guard = pin();
            let place = store.index.search(
                &guard,
                &Keys(&store),
                store.index.start(&guard, hash(0)),
                store.is_key(0),
            );
            if let Place::Vacant(_) = place.expect("the index can grow") {
                let bound = forgotten.bound();
                assert_eq!(bound, Some(7.into()), "absent, and not known to be forgotten");
            }
        })
    };
    let guard = pin();
    while let Some(entry) = store.entry(&guard, 0, at) {
        forgotten.note(7.into());
        if entry.remove().is_ok() {
            store.bury(at, 1);
        }
    }
    if let Some(key) = then {
        store.put_under(&guard, Found { key, version: 1, rblocks: 1 }).expect("room");
    }
    drop(guard);
    putter.join().expect("putter");
}

#[test]
fn who_finds_a_key_removed_knows_its_version() {
    model(3, || forgets(&[], None));
}

/// The segment is full: who looks replaces it.
#[test]
fn who_finds_a_key_removed_in_a_full_segment_knows_its_version() {
    model(3, || forgets(&[2], None));
}

/// The segment is replaced by who removed the key, or by both.
#[test]
fn who_finds_a_key_absent_from_a_new_segment_knows_its_version() {
    model(1, || forgets(&[2], Some(4)));
}
