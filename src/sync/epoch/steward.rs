//! The steward: stands in for the pins of all threads with a guard of its own.
//!
//! What a thread pays for a pin is a store in its slot; the guard that holds reclamation up, with
//! the fence that it costs, is the steward's. Now and then it takes a new one:
//! ```text
//! take the new guard  ->  barrier  ->  note the sessions that go on  ->  [all ended]  ->
//! drop the old guard
//! ```
//!
//! Invariant W1: every session is covered, from before its first read to after its last, by one
//! guard of the steward's. One that the look after the barrier saw began after the last such
//! barrier, behind which the old guard was taken, and the old guard waits for its end. One that it
//! did not see begins after the barrier (L1 of `slot`), and so after the new guard.
//!
//! So a thread in a session may do what a thread with such a guard may do.
//!
//! Checked by: `loom-tests/tests/epoch.rs`.
#![forbid(unsafe_code)]

use super::slot::{Session, Slot};

/// See the file header. `G`: a guard.
#[derive(Debug)]
pub struct Steward<G> {
    covering: G,
    next: Option<Next<G>>,
}

#[derive(Debug)]
struct Next<G> {
    guard: G,
    awaited: Vec<(&'static Slot, Session)>,
}

impl<G> Steward<G> {
    /// With its first guard, which is older than every session.
    pub fn new(covering: G) -> Self {
        Self { covering, next: None }
    }

    /// Looks once, and begins or ends a change of guards where it can. False: sessions are still
    /// under the old one.
    ///
    /// - `pin`: takes a new guard. `barrier`: L1 of `slot`; false if it failed, and then nothing
    ///   changes.
    /// - `slots`: calls back with each slot.
    pub fn turn(
        &mut self,
        pin: impl FnOnce() -> G,
        barrier: impl FnOnce() -> bool,
        slots: impl FnOnce(&mut dyn FnMut(&'static Slot)),
    ) -> bool {
        let mut next = if let Some(next) = self.next.take() {
            next
        } else {
            let guard = pin();
            if !barrier() {
                return false;
            }
            let mut awaited = Vec::new();
            slots(&mut |slot| awaited.extend(slot.session().map(|session| (slot, session))));
            Next { guard, awaited }
        };
        next.awaited.retain(|(slot, session)| slot.session() == Some(*session));
        if next.awaited.is_empty() {
            self.covering = next.guard;
        } else {
            self.next = Some(next);
        }
        self.next.is_none()
    }
}
