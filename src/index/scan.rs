//! Walking all entries, one segment at a time.
//!
//! A scan goes through the `x` range in order. A step visits the newest segment at the cursor and
//! moves the cursor to that segment's end. Segments are only ever replaced by ones with the same
//! range or half of it, and what happened before a step is seen by it (E2), so that the cursor is
//! always the start of the segment that it finds.
//!
//! - N1  A key that is present throughout the scan is seen exactly once: in the one segment that
//!   is visited for its `x`, where its slot stays the same as long as the segment lives, and also
//!   after that, frozen. A key removed and inserted again during a step may be seen twice.
//! - N2  When a step began, its segment had no successor. So every location in it, a frozen one
//!   too, was current after the pin, and stays readable as long as the guard.
//!
//! Checked by: `tests.rs`.
#![forbid(unsafe_code)]

use super::api::Index;
use super::entry::{Slot, X_BITS};
use crate::sync::epoch::Guard;
use crate::unit::Location;

/// How far a scan is. The default is the start. Good under any later guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScanCursor(u32);

/// An entry that a scan came by.
#[derive(Clone, Copy, Debug)]
pub struct SlotRef<'g>(&'g Slot);

/// What an entry says now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// The record's current location.
    Live(Location),
    /// A location that was current a moment ago: look its key up again if that matters.
    Frozen(Location),
    /// The key was removed.
    Deleted,
}

impl SlotRef<'_> {
    /// Reads the entry. The location may be read as long as the guard of the scan lives.
    pub fn state(self) -> SlotState {
        let word = self.0.read();
        match (word.is_live(), word.is_frozen()) {
            (true, false) => SlotState::Live(word.location()),
            (true, true) => SlotState::Frozen(word.location()),
            (false, _) => SlotState::Deleted,
        }
    }
}

impl Index {
    /// Appends the entries of one segment to `out`, at most 2,040, and returns where to go on;
    /// `None` at the end.
    pub fn slots_from<'g>(
        &'g self,
        guard: &'g Guard,
        cursor: ScanCursor,
        out: &mut Vec<SlotRef<'g>>,
    ) -> Option<ScanCursor> {
        let segment = self.newest(cursor.0, guard);
        let range = segment.range();
        debug_assert_eq!(range.start(), u64::from(cursor.0), "a cursor is the start of a segment");
        debug_assert!(range.end() <= 1 << X_BITS, "within x");
        let slots = segment.slots().map(|(_, slot)| slot);
        out.extend(slots.filter(|slot| slot.peek().is_live()).map(SlotRef));
        u32::try_from(range.end()).ok().map(ScanCursor)
    }
}
