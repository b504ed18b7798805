//! The only door to atomics, locks and threads: `std` in a build, `loom` under `--cfg loom`,
//! `shuttle` under `--cfg shuttle`.
//!
//! Loom tries all that the memory model allows, on protocols of a few steps. Shuttle sees no weak
//! memory, and in turn runs whole stripes and a whole index, on schedules drawn at random. Both
//! run the same small wblocks and segments, and the same stand-ins for what they cannot look into.
//!
//! Rules
//! - No other room names `std::sync::atomic`, `loom` or `shuttle` (`tests/tidy.rs` checks it): an
//!   atomic that loom cannot see is an ordering that no model checks.
//! - `SeqCst` is not exported. Loom treats a `SeqCst` access as `AcqRel`, so a proof that leans on
//!   one could not be checked. Where one total order is needed, [`fence_seq_cst`] is, which loom
//!   models faithfully.
//! - Epochs come through [`epoch`]: crossbeam's in a build; in models a stand-in that reclaims as
//!   early as the contract allows, so that a use after retirement is caught.

#[cfg(not(any(loom, shuttle)))]
pub use std::{
    hint::spin_loop,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{
            AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
            fence,
        },
    },
    thread,
};

#[cfg(loom)]
use loom::lazy_static;
#[cfg(loom)]
pub use loom::{
    cell::UnsafeCell as ModelCell,
    hint::spin_loop,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{
            AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
            fence,
        },
    },
    thread,
};

#[cfg(shuttle)]
use shuttle::lazy_static;
#[cfg(shuttle)]
pub use shuttle::{
    hint::spin_loop,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{
            AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
            fence,
        },
    },
    thread,
};

#[cfg(shuttle)]
mod cell_model;
#[cfg(not(any(loom, shuttle)))]
pub mod core;
mod doorbell;
pub mod epoch;
#[cfg(not(any(loom, shuttle)))]
pub mod fork;
#[cfg(not(any(loom, shuttle)))]
pub mod memory;
#[cfg(any(loom, shuttle))]
mod queue_model;

#[cfg(shuttle)]
pub use cell_model::ModelCell;
#[cfg(not(any(loom, shuttle)))]
pub use crossbeam_queue::ArrayQueue;
pub use doorbell::Doorbell;
#[cfg(any(loom, shuttle))]
pub use queue_model::ArrayQueue;

/// A value alone on its cache lines: two lines, for the pair that prefetchers fetch together.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CachePadded<T>(pub T);

impl<T> std::ops::Deref for CachePadded<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Asks the processor to fetch the cache line at `address`, which need not even be mapped.
#[inline]
pub fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which cannot fault. SSE is part of x86_64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// The fence for a store before a load on both sides (Dekker): see the header.
#[inline]
pub fn fence_seq_cst() {
    #[cfg(loom)]
    use loom::sync::atomic::Ordering::SeqCst;
    #[cfg(shuttle)]
    use shuttle::sync::atomic::Ordering::SeqCst;
    #[cfg(not(any(loom, shuttle)))]
    use std::sync::atomic::Ordering::SeqCst;
    // ORDERING: SeqCst, the one that this is for.
    fence(SeqCst);
}

/// Locks `mutex`; a panic of another holder does not spread: every holder in this crate leaves
/// the data whole at each point where it can panic.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
