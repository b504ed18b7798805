//! Whole stripes: writers that fill wblock after wblock on two lanes, beside the flusher.
#![cfg(shuttle)]
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a refusal fails the model")]

mod common;

use brindle::region::{Cut, NoRoom, Purpose, State, Stripes};
use brindle::sync::epoch;
use brindle::unit::{Location, RBLOCK_BYTES, WBLOCK_HEADER_RBLOCKS, WblockId};
use common::{ROOM, Shape, check, stripes};
use shuttle::sync::Arc;
use shuttle::thread;

const END: u32 = WBLOCK_HEADER_RBLOCKS + ROOM;

/// Puts a record of `rblocks` rblocks, each filled with `mark`.
fn put(stripes: &Stripes, lane: u32, rblocks: u32, mark: u8) -> Result<Location, NoRoom> {
    let guard = epoch::pin();
    let mut space = stripes.reserve(&guard, lane, rblocks, Purpose::Put)?;
    space.fill(8, &vec![mark; (rblocks * RBLOCK_BYTES - 8) as usize]);
    space.show();
    Ok(space.commit())
}

/// Records of a writer: sizes that do and do not fit what is left.
const SIZES: [u32; 2] = [5, 4];

type Written = Vec<(Location, u32, u8)>;

fn write(stripes: &Arc<Stripes>, writer: u8) -> thread::JoinHandle<Written> {
    let stripes = Arc::clone(stripes);
    thread::spawn(move || {
        let lane = u32::from(writer) % 2;
        let put = |(at, rblocks): (usize, &u32)| {
            // No byte of a padding is such a mark.
            let mark = 0x80 | writer << 4 | u8::try_from(at + 1).expect("few");
            (put(&stripes, lane, *rblocks, mark).expect("room"), *rblocks, mark)
        };
        SIZES.iter().enumerate().map(put).collect()
    })
}

/// All that was written is where it was put, whole; nothing overlaps, no wblock is lost.
fn judge(stripes: &Stripes, written: &[(Location, u32, u8)]) {
    for (at, rblocks, mark) in written {
        let marks = stripes.region().read(*at, *rblocks);
        assert!(marks.iter().all(|found| *found == u64::from(*mark)), "{mark}: {marks:?}");
    }
    let mut ranges: Vec<_> =
        written.iter().map(|(at, rblocks, _)| (at.0, at.0 + u64::from(*rblocks))).collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "overlap: {ranges:?}");
    let opened = stripes.wblocks().filter(|(_, wblock)| wblock.state() != State::Free).count();
    let total = u64::from(stripes.geometry().wblocks());
    assert_eq!(stripes.free_wblocks() + opened as u64, total, "none is lost");
    for (wblock, entry) in stripes.wblocks() {
        match entry.state() {
            State::Free => {}
            State::Open => {
                let named = (0..2).find_map(|lane| {
                    stripes.open_rblocks(lane).filter(|(open, _)| *open == wblock)
                });
                let (_, position) = named.expect("an open wblock is one of the lanes'");
                let walk = stripes.walk(wblock, WBLOCK_HEADER_RBLOCKS, position);
                assert_eq!(walk.complete, position, "no hole");
            }
            _ => {
                let walk = stripes.walk(wblock, WBLOCK_HEADER_RBLOCKS, END);
                assert_eq!(walk.complete, END, "a sealed wblock is complete");
            }
        }
    }
    let live: u64 =
        (0..stripes.geometry().wblocks()).map(|at| stripes.live_rblocks(WblockId(at))).sum();
    let expected: u64 = written.iter().map(|(_, rblocks, _)| u64::from(*rblocks)).sum();
    assert_eq!(live, expected, "live is what was reserved and not padded");
}

fn shape(has_shadow: bool) -> Shape {
    let shape =
        Shape { stripes: 2, wblocks_per_stripe: 4, kept_for_moves: 0, reclaimers: 0, has_shadow };
    shape
}

/// Three writers, two of them on one lane.
fn writers_fill_wblock_after_wblock() {
    let stripes = stripes(shape(false));
    let writers: Vec<_> = (0..3).map(|writer| write(&stripes, writer)).collect();
    let join = |writer: thread::JoinHandle<Written>| writer.join().expect("a writer");
    let written: Vec<_> = writers.into_iter().flat_map(join).collect();
    judge(&stripes, &written);
}

/// The flusher of one lane: cuts, and takes what is complete, never the same rblock twice, through
/// all wblocks in the order in which they were opened.
#[derive(Default)]
struct Flusher {
    /// The wblock that is open, and how far it is flushed.
    open: Option<(WblockId, u32)>,
    flushes: u16,
    marks: Vec<u64>,
}

impl Flusher {
    /// One flush of `lane`: to its cut, as far as that is complete.
    fn flush(&mut self, stripes: &Stripes, lane: u32) {
        let Some(newest) = stripes.newest(lane) else { return };
        // Wblocks that were opened since, the newest first.
        let mut chain = vec![newest];
        while let Some(previous) = stripes.wblock(*chain.last().expect("one")).previous() {
            if self.open.is_some_and(|(open, _)| open == *chain.last().expect("one")) {
                break;
            }
            chain.push(previous);
        }
        for wblock in chain.into_iter().rev() {
            let flushed = match self.open {
                Some((open, flushed)) if open == wblock => flushed,
                _ => 0,
            };
            self.flushes += 1;
            let until = match stripes.cut(lane, wblock, flushed, self.flushes) {
                Cut::Nothing => return,
                Cut::Until(rblock) => rblock,
                Cut::Sealed => END,
            };
            let from = flushed.max(WBLOCK_HEADER_RBLOCKS);
            let walk = stripes.walk(wblock, from, until);
            // The header and what is complete go to the device as they are: nobody writes there.
            let first = stripes.geometry().location(wblock, from);
            self.marks.extend(stripes.region().read(first, walk.complete - from));
            self.open = Some((wblock, walk.complete));
            if walk.complete < END {
                return;
            }
        }
    }
}

/// Three writers and the flusher of both lanes.
fn a_flusher_takes_each_record_once_and_whole() {
    let stripes = stripes(shape(true));
    let flusher = {
        let stripes = Arc::clone(&stripes);
        thread::spawn(move || {
            let mut lanes = [Flusher::default(), Flusher::default()];
            for _ in 0..2 {
                for (lane, flusher) in (0..).zip(&mut lanes) {
                    flusher.flush(&stripes, lane);
                }
            }
            lanes
        })
    };
    let writers: Vec<_> = (0..3).map(|writer| write(&stripes, writer)).collect();
    let join = |writer: thread::JoinHandle<Written>| writer.join().expect("a writer");
    let written: Vec<_> = writers.into_iter().flat_map(join).collect();
    let mut lanes = flusher.join().expect("the flusher");
    for (lane, flusher) in (0..).zip(&mut lanes) {
        flusher.flush(&stripes, lane);
        flusher.flush(&stripes, lane);
    }
    judge(&stripes, &written);
    for (_, rblocks, mark) in &written {
        let of_mark = |flusher: &Flusher| {
            flusher.marks.iter().filter(|found| **found == u64::from(*mark)).count()
        };
        let taken: usize = lanes.iter().map(of_mark).sum();
        assert_eq!(taken, *rblocks as usize, "record {mark} was taken once, and whole");
    }
}

#[test]
fn writers_fill_wblock_after_wblock_and_lose_none() {
    check("writers", writers_fill_wblock_after_wblock);
}

#[test]
fn a_flusher_beside_writers_takes_each_record_once_and_whole() {
    check("flusher", a_flusher_takes_each_record_once_and_whole);
}
