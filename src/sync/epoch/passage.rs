//! A passage: the time that it takes until every pin of a moment is gone.

use super::pin;
use crate::sync::{Acquire, Arc, AtomicBool, Release};

/// Begun at one moment, over when every pin that was held then is gone.
///
/// Happens-before edge: all that was done under those pins, and all that the one who began it did
/// before, is before what follows [`is_over`](Self::is_over).
#[derive(Debug)]
pub struct Passage(Arc<AtomicBool>);

impl Passage {
    /// Begins now.
    pub fn begin() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&over);
        // SAFETY: nothing is freed but the closure's own `Arc`, which is `'static`.
        // ORDERING: Release, pairs with `is_over`.
        unsafe { pin().defer_unchecked(move || flag.store(true, Release)) };
        Self(over)
    }

    /// True once it is over. Does not hurry: see [`advance`](super::advance).
    pub fn is_over(&self) -> bool {
        // ORDERING: Acquire, pairs with `begin`.
        self.0.load(Acquire)
    }
}
