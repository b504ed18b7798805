//! Epoch-based reclamation: crossbeam's, with a collector of our own.
//!
//! A collector of our own means that a guard held elsewhere in the process does not hold ours up,
//! and that no `pin` here runs another crate's deferred work. One collector serves all stores of
//! the process, so that a thread keeps one handle, which costs one thread-local look-up.
//!
//! Source: K. Fraser, "Practical lock-freedom", 2004 (epoch-based reclamation); `crossbeam-epoch`.

#[cfg(not(loom))]
pub use crossbeam_epoch::Guard;

#[cfg(not(loom))]
mod handle {
    use crossbeam_epoch::{Collector, Guard, LocalHandle};
    use std::sync::OnceLock;

    static COLLECTOR: OnceLock<Collector> = OnceLock::new();

    thread_local! {
        static HANDLE: LocalHandle = COLLECTOR.get_or_init(Collector::new).register();
    }

    /// Pins the current thread: nothing retired from now on is reclaimed until the guard drops.
    ///
    /// Nested pins are cheap. In a thread-local destructor, after the handle is gone, a handle of
    /// its own is registered for this one pin.
    #[inline]
    pub fn pin() -> Guard {
        HANDLE
            .try_with(LocalHandle::pin)
            .unwrap_or_else(|_gone| COLLECTOR.get_or_init(Collector::new).register().pin())
    }
}

#[cfg(not(loom))]
pub use handle::pin;

mod passage;

pub use passage::{Passage, advance};

#[cfg(loom)]
mod model;
#[cfg(loom)]
pub use model::{Guard, pin};
