//! Cold start's put: of the records of a key the one that wins is the one in the index.
#![forbid(unsafe_code)]

use super::keyspace::{Keyspace, Kind};
use crate::format::{RecordView, precedence};
use crate::index::{Occupied, Place};
use crate::planted::{Bug, is_planted};
use crate::sync::epoch::Guard;
use crate::unit::Location;

/// What became of a record at cold start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// The first of its key.
    New,
    /// It won over a copy that was loaded before.
    Replaced,
    /// It lost.
    Older,
}

impl Keyspace {
    /// Publishes the record at `location` if it wins over what the index has: cold start's put.
    /// `None`: the index can grow no more.
    pub fn admit(&self, guard: &Guard, stripe: u32, location: Location) -> Option<Admitted> {
        let record = self.view(guard, location);
        let hash = self.hash(record.key());
        loop {
            if let Some(expires_at) = record.expires_at() {
                self.expires(location, expires_at);
            }
            match self.search(guard, hash, record.key())?.0 {
                Place::Vacant(vacant) if vacant.insert(location).is_ok() => {
                    self.count(stripe, Kind::Absent, Kind::of(Some(&record)));
                    return Some(Admitted::New);
                }
                Place::Occupied(rival) => {
                    if let Some(admitted) = self.contest(guard, stripe, (location, record), &rival)
                    {
                        return Some(admitted);
                    }
                }
                Place::Vacant(_) => {}
            }
        }
    }

    /// Lets a record stand against the one in the index. `None`: the entry has changed.
    fn contest(
        &self,
        guard: &Guard,
        stripe: u32,
        (location, record): (Location, RecordView<'_>),
        entry: &Occupied<'_>,
    ) -> Option<Admitted> {
        let rival_location = entry.location();
        let rival = self.view(guard, rival_location);
        // Of a record and its moved copy the copy stands: it says that there is another.
        let mut order = precedence(&record, &rival).then(record.is_heir().cmp(&rival.is_heir()));
        if is_planted(Bug::TakeLastMet) {
            order = std::cmp::Ordering::Greater;
        }
        if order.is_le() {
            self.bury(location, record.rblocks());
            return Some(Admitted::Older);
        }
        entry.replace(location).ok()?;
        self.bury(rival_location, rival.rblocks());
        self.count(stripe, Kind::of(Some(&rival)), Kind::of(Some(&record)));
        Some(Admitted::Replaced)
    }
}
