//! A view into the region together with the pin that keeps it there.

use super::keyspace::{Keyspace, record_view};
use crate::format::RecordView;
use crate::index::Hash;
use crate::sync::epoch::Guard;

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
    #[inline]
    pub fn hold(
        &self,
        guard: Guard,
        (hash, key): (Hash, &[u8]),
        note: bool,
        accept: impl FnOnce(&RecordView<'_>) -> bool,
    ) -> Option<Held<'_>> {
        let view = if note { self.find(&guard, hash, key) } else { self.peek(&guard, hash, key) };
        let view = view.filter(accept)?;
        let word = view.commit();
        let body: *const [u8] = view.body();
        // SAFETY: the bytes lie in the region, which lives as long as `self`; they do not change
        // while `guard` is held (K1), which moves into the result and so outlives every use: a
        // `Held` lends its view for no longer than itself (H1).
        let body = unsafe { &*body };
        Some(Held { view: record_view(word, body), _guard: Some(guard) })
    }
}
