//! Scanning: every record, segment by segment of the index.
#![forbid(unsafe_code)]

use super::record::Record;
use super::{Inner, Store};
use crate::index::{ScanCursor, SlotState};
use crate::sync::epoch::{self, Guard};
use crate::unit::Location;
use std::fmt;

/// Every live record, in no particular order.
///
/// - A record that is there from the beginning of the scan to its end is returned exactly once; one
///   that is put or deleted meanwhile may or may not be. A key that is deleted and put again
///   meanwhile may come twice.
/// - Each record is as it stands when it is returned, not when the scan began: a scan never shows
///   an older version of a key than a `get` before it did.
/// - The scan keeps its thread pinned while it goes through one segment of the index, some
///   thousand keys, and then pins anew.
pub struct Scan<'s> {
    inner: &'s Inner,
    /// None: the last segment has been noted.
    cursor: Option<ScanCursor>,
    /// Where the records of the present segment were when it was noted. `guard` was taken before,
    /// and so what lies there is still the record that it was.
    locations: std::vec::IntoIter<Location>,
    guard: Guard,
}

impl Store {
    /// Every live record: see [`Scan`] for what it sees of concurrent writes. Ends at once on a
    /// closed store.
    pub fn scan(&self) -> Scan<'_> {
        let cursor = self.inner.is_readable().then_some(ScanCursor::default());
        let locations = Vec::new().into_iter();
        Scan { inner: &self.inner, cursor, locations, guard: epoch::pin() }
    }
}

impl Scan<'_> {
    /// Notes the records of the next segment. `None`: there is none, or the store was closed.
    fn refill(&mut self) -> Option<()> {
        let cursor = self.cursor.take().filter(|_| self.inner.is_readable())?;
        // Lets the epoch move on, unless the caller holds a record or pin of its own.
        self.guard.repin();
        let mut slots = Vec::new();
        self.cursor = self.inner.keyspace.index().slots_from(&self.guard, cursor, &mut slots);
        let locations = slots.iter().filter_map(|slot| match slot.state() {
            SlotState::Live(location) | SlotState::Frozen(location) => Some(location),
            SlotState::Deleted => None,
        });
        self.locations = locations.collect::<Vec<_>>().into_iter();
        Some(())
    }
}

impl<'s> Iterator for Scan<'s> {
    type Item = Record<'s>;

    fn next(&mut self) -> Option<Record<'s>> {
        loop {
            let Some(location) = self.locations.next() else {
                self.refill()?;
                continue;
            };
            let keyspace = &self.inner.keyspace;
            let noted = keyspace.view(&self.guard, location);
            let hash = keyspace.hash(noted.key());
            let record = self.inner.hold(hash, noted.key(), false);
            if record.is_some() {
                return record;
            }
        }
    }
}

impl fmt::Debug for Scan<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Scan").finish_non_exhaustive()
    }
}
