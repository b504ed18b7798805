//! A view into the region together with the pin that keeps it there.

use super::keyspace::{Keyspace, record_view};
use crate::format::{CommitWord, RecordView};
use crate::index::Hash;
use crate::sync::epoch::Guard;
use crate::unit::Location;

/// A record of a keyspace, held in place.
///
/// Invariant H1: either `view` borrows a guard that outlives `'s`, or `guard` is that guard.
#[derive(Debug)]
pub struct Held<'s> {
    view: RecordView<'s>,
    _guard: Option<Guard>,
}

impl<'s> Held<'s> {
    /// Held by a guard that lives as long as the view says (H1).
    #[inline]
    pub fn borrowed(view: RecordView<'s>) -> Self {
        Self { view, _guard: None }
    }

    /// The record.
    #[inline]
    pub fn view(&self) -> RecordView<'_> {
        self.view
    }
}

impl Keyspace {
    /// The record of `key` that `accept` takes, with `guard` to hold it. `note`: the read may be
    /// noted, for eviction.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a part of `Store::get`")]
    pub fn hold(
        &self,
        guard: Guard,
        (hash, key): (Hash, &[u8]),
        note: bool,
        accept: impl FnOnce(&RecordView<'_>) -> bool,
    ) -> Option<Held<'_>> {
        let view = if note { self.find(&guard, hash, key) } else { self.peek(&guard, hash, key) };
        let view = view.filter(accept)?;
        let (word, body): (_, *const [u8]) = (view.commit(), view.body());
        // SAFETY: (1) read under `guard`.
        Some(unsafe { self.lend(word, body, guard) })
    }

    /// The record at `location`, which the caller read from the index under `guard`, if its key is
    /// `key`; under a guard of its own.
    #[inline]
    pub fn hold_at(&self, guard: &Guard, location: Location, key: &[u8]) -> Option<Held<'_>> {
        let view = self.view(guard, location);
        if view.key() != key {
            return None;
        }
        let (word, body): (_, *const [u8]) = (view.commit(), view.body());
        // SAFETY: (1) read under `guard`, whose session goes on.
        Some(unsafe { self.lend(word, body, guard.again()) })
    }

    /// # Safety
    ///
    /// 1. `body` is that of a record with the commit word `word`, which was read from the index
    ///    under `guard`, or another guard of its session.
    #[inline]
    #[expect(clippy::unused_self, reason = "what is lent lives as long")]
    unsafe fn lend(&self, word: CommitWord, body: *const [u8], guard: Guard) -> Held<'_> {
        // SAFETY: the bytes lie in the region, which lives as long as `self`; they do not change
        // while `guard` is held (1, K1), which moves into the result and so outlives every use: a
        // `Held` lends its view for no longer than itself (H1).
        let body = unsafe { &*body };
        Held { view: record_view(word, body), _guard: Some(guard) }
    }
}
