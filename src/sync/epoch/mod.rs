//! Epoch-based reclamation: crossbeam's, with a collector of our own and pins of our own.
//!
//! crossbeam-epoch decides what may be reclaimed. Its pin pays for that with a full fence, which
//! keeps the cache misses of one get from overlapping those of the next: at ten million records a
//! third of a get. So threads pin in a slot of their own, without a fence ([`slot`]), and a
//! steward holds a guard of crossbeam's for all of them ([`steward`]). Who reclaims pays the
//! difference: a `membarrier` call, some hundred times a second at most.
//!
//! A collector of our own means that a guard held elsewhere in the process does not hold ours up,
//! and that no `pin` here runs another crate's deferred work. One collector serves all stores of
//! the process.
//!
//! Source: K. Fraser, "Practical lock-freedom", 2004 (epoch-based reclamation); `crossbeam-epoch`;
//! the asymmetric barrier: M. Desnoyers et al., "User-level implementations of read-copy update",
//! 2012.

#[cfg(any(loom, shuttle))]
mod model;
mod passage;
#[cfg(not(any(loom, shuttle)))]
mod pin;
pub mod slot;
pub mod steward;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

#[cfg(any(loom, shuttle))]
pub use model::{Guard, advance, pin};
pub use passage::Passage;
#[cfg(not(any(loom, shuttle)))]
pub use pin::{Guard, advance, begin_anew, pin};
