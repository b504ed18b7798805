//! Stripes on mapped memory, in the least that fills a wblock: for Miri. What else there is to say
//! of them is said under loom, under shuttle, and through the store.
#![expect(clippy::expect_used, reason = "a refusal fails the test")]

use super::{Identity, NowUs, Purpose, Region, State, Stripes};
use crate::config::HugePages;
use crate::format::{StoreId, StoreKey};
use crate::sync::epoch::pin;
use crate::unit::{Geometry, Location, Sequence, WBLOCK_HEADER_RBLOCKS, WblockId};

const RBLOCKS: u32 = 300;

fn stripes() -> Stripes {
    let geometry = Geometry { wblock_bytes: 64 << 10, stripes: 1, wblocks_per_stripe: 4 };
    let store_id = StoreId([7; 16]);
    let identity = Identity {
        store_id,
        store_key: StoreKey::of(&store_id),
        kept_for_moves: 0,
        kept_for_deletes: 0,
        reclaimers: 0,
        has_shadow: false,
    };
    let region = Region::map(geometry, HugePages::Off).expect("there is memory");
    let stripes = Stripes::new(region, identity, Sequence(1), NowUs(Box::new(|| 0)));
    for wblock in 0..4 {
        stripes.release(WblockId(wblock));
    }
    stripes
}

fn put(stripes: &Stripes, mark: u8) -> Location {
    let guard = pin();
    let mut space = stripes.reserve(&guard, 0, RBLOCKS, Purpose::Put).expect("there is room");
    space.fill(8, &[mark; RBLOCKS as usize * 16 - 8]);
    space.show();
    space.commit()
}

#[test]
fn two_threads_fill_wblocks_side_by_side() {
    let stripes = stripes();
    let places: Vec<(u8, Location)> = std::thread::scope(|scope| {
        let write = |thread: u8| {
            let stripes = &stripes;
            scope.spawn(move || {
                let marks = (1..=8).map(|step| thread * 16 + step);
                marks.map(|mark| (mark, put(stripes, mark))).collect::<Vec<_>>()
            })
        };
        let writers = [write(0), write(1)];
        writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect()
    });
    assert_eq!(places.len(), 16);
    for (mark, at) in places {
        // SAFETY: (1) committed, and the threads are joined; (2) nothing is released; (3) the
        // word is left out.
        let bytes = unsafe { stripes.region().bytes(at, 8, RBLOCKS as usize * 16 - 8) };
        assert!(bytes.iter().all(|byte| *byte == mark), "{mark} is whole");
    }
    let end = stripes.geometry().wblock_rblocks();
    let full = stripes.wblocks().filter(|(_, wblock)| wblock.state() == State::Used);
    for (wblock, _) in full {
        assert_eq!(stripes.walk(wblock, WBLOCK_HEADER_RBLOCKS, end).complete, end, "no hole");
    }
}
