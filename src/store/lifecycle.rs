//! Flush, clear, close; and binding threads to stripes.
#![forbid(unsafe_code)]

use super::{Inner, Store, status};
use crate::error::{Error, Result};
use crate::index::{ScanCursor, SlotState};
use crate::shadow::Unmet;
use crate::sync::core::{self, Mask};
use crate::sync::{Arc, epoch, fork, lock};
use crate::trace::{event, failed, notice};
use crate::upkeep::pins_are_gone;
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

/// How long `close` waits for calls in flight before it flushes without them.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

impl Store {
    /// A barrier: all that was acknowledged before is durable when it returns. Shared with every
    /// other barrier that waits at the time. Without a shadow it does nothing.
    ///
    /// # Errors
    ///
    /// [`Error::ShadowFailed`]: it is not known what is durable. [`Error::DeadlinePassed`]: the
    /// same, after `flush_deadline`; the flush goes on. [`Error::Closed`], [`Error::Forked`].
    pub fn flush(&self) -> Result<()> {
        self.inner.check_writable()?;
        self.inner.reclaim.common().raise_floor_if_due();
        self.inner.settle(true)
    }

    /// Deletes every record, one at a time: those that are there throughout are gone when it
    /// returns, one that is put meanwhile may stay. With a shadow each leaves a tombstone.
    ///
    /// # Errors
    ///
    /// Those of [`delete`](Self::delete): the records before the error are gone.
    pub fn clear(&self) -> Result<()> {
        self.inner.check_writable()?;
        let keyspace = &self.inner.keyspace;
        let mut cursor = Some(ScanCursor::default());
        while let Some(from) = cursor {
            // A delete may wait for room, and so must find no pin (P5 of `write`): the keys of one
            // segment are noted first.
            let mut keys = Vec::new();
            {
                let guard = epoch::pin();
                let mut slots = Vec::new();
                cursor = keyspace.index().slots_from(&guard, from, &mut slots);
                for slot in slots {
                    if let SlotState::Live(at) | SlotState::Frozen(at) = slot.state() {
                        keys.push(keyspace.view(&guard, at).key().to_vec());
                    }
                }
            }
            for key in keys {
                self.delete(key)?;
            }
        }
        Ok(())
    }

    /// Flushes, marks the shadow clean, stops the engine's threads and frees the locks. Dropping
    /// the last clone does the same, but cannot report an error.
    ///
    /// Through any clone, afterwards: writes and another `close` return [`Error::Closed`], reads
    /// find nothing, scans end. Records that are still held stay readable.
    ///
    /// # Errors
    ///
    /// [`Error::ShadowFailed`]: it is not known what of the last writes is durable. The store is
    /// closed all the same. [`Error::DeadlinePassed`]: the device has not answered by
    /// `close_deadline`; the store is closed, but its memory and the lock on its shadow are given
    /// back only when the device lets go of them, and if it then takes writes, all of them are
    /// flushed. [`Error::Closed`], [`Error::Forked`].
    pub fn close(self) -> Result<()> {
        self.inner.close()
    }

    /// Keeps the calling thread on the core of `stripe`, and its writes in that stripe, until the
    /// binding is dropped. For a thread per core this spares two threads a shared write position.
    ///
    /// A refusal to move the thread, by a container for instance, costs speed only.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with key `stripe`: there is no such stripe. [`Error::Closed`],
    /// [`Error::Forked`].
    pub fn bind_thread(&self, stripe: usize) -> Result<Binding> {
        self.inner.check_writable()?;
        let stripes = self.inner.keyspace.stripes().geometry().stripes;
        let bound = u32::try_from(stripe).ok().filter(|stripe| *stripe < stripes);
        let Some(bound) = bound else {
            let reason =
                format!("bind_thread({stripe}): the store has stripes 0 to {}", stripes - 1);
            return Err(Error::config("stripe", reason));
        };
        let cores = &self.inner.cores;
        let mask = Mask::of_thread().ok();
        if let Some(core) = cores.get(stripe % cores.len().max(1)) {
            core::pin_thread(*core);
        }
        let before = BOUND.replace(Some((self.inner.number, bound)));
        Ok(Binding { before, mask, _thread: PhantomData })
    }
}

thread_local! {
    /// The store and stripe that the thread is bound to.
    static BOUND: Cell<Option<(u64, u32)>> = const { Cell::new(None) };
}

/// The stripe that the calling thread is bound to in the store `number`.
#[inline]
pub(super) fn bound_stripe(number: u64) -> Option<u32> {
    BOUND.get().filter(|(store, _)| *store == number).map(|(_, stripe)| stripe)
}

/// Binds the thread that made it to a stripe, until it drops; the thread then runs where it could
/// run before. The newest binding of a thread counts. `!Send`.
#[derive(Debug)]
#[must_use = "the binding ends when it is dropped"]
pub struct Binding {
    before: Option<(u64, u32)>,
    mask: Option<Mask>,
    _thread: PhantomData<*const ()>,
}

impl Drop for Binding {
    fn drop(&mut self) {
        BOUND.set(self.before);
        if let Some(mask) = &self.mask {
            mask.restore();
        }
    }
}

impl Inner {
    /// After a write: waits until it is durable, if asked to.
    #[inline]
    pub(super) fn settle(&self, durable: bool) -> Result<()> {
        match &self.shadow {
            Some(shadow) if durable => {
                let patience = self.settings.flush_deadline();
                shadow
                    .barrier(patience)
                    .map_err(|why| self.unmet(why, ("flush_deadline", patience)))
            }
            _ => Ok(()),
        }
    }

    /// What is said to who asked something of the shadow in vain, with a patience of that name.
    #[cold]
    pub(super) fn unmet(&self, unmet: Unmet, (key, patience): (&'static str, Duration)) -> Error {
        let reason = match unmet {
            Unmet::Refused(error) => return error,
            Unmet::Late(reason) => reason,
        };
        let config = lock(&self.config);
        let devices = config.shadow_devices.as_ref().and_then(|paths| paths.first());
        let path = config.shadow_dir.as_ref().or(devices).cloned().unwrap_or_default();
        let waited_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let pending_bytes = self.unflushed_bytes();
        Error::DeadlinePassed { key, waited_ms, pending_bytes, reason, path }
    }

    /// Refuses a durability that the store cannot give.
    pub(super) fn check_durable(&self, asked: bool) -> Result<()> {
        if asked && self.shadow.is_none() {
            let reason = "the store has no shadow, so nothing can be durable: set `shadow_dir` or \
                          `shadow_devices`";
            return Err(Error::config("durable", reason));
        }
        Ok(())
    }

    /// Tells what was opened, and what an operator should know of it.
    pub(super) fn tell_opened(&self) {
        event!(
            INFO,
            records = self.report.records,
            bytes = self.report.bytes,
            seconds = self.report.elapsed.as_secs_f64(),
            was_clean = self.report.was_clean,
            "store opened"
        );
        if self.report.damaged() > 0 {
            event!(WARN, rejected = ?self.report.rejected, "the cold start found a loss");
        }
        self.notices.iter().for_each(|text| notice(text));
    }

    pub(super) fn close(&self) -> Result<()> {
        if self.forks != fork::count() {
            return Err(Error::Forked);
        }
        if self.status.swap(status::CLOSED) == status::CLOSED {
            return Err(Error::Closed);
        }
        let closed = self.close_parts();
        #[cfg(feature = "top")]
        self.publisher.end();
        closed
    }

    fn close_parts(&self) -> Result<()> {
        // C1: writers that found the store open are done before the last flush begins.
        pins_are_gone(CLOSE_PATIENCE);
        let patience = self.settings.close_deadline();
        let deadline = Instant::now() + patience;
        if let Some(shadow) = &self.shadow {
            // While there are reclaimers, should a place of the shadow prove to be bad. What comes
            // of it the end of the thread tells.
            shadow.settle(patience);
        }
        self.reclaim.stop();
        self.upkeep.stop();
        let Some(shadow) = &self.shadow else {
            event!(INFO, "store closed");
            return Ok(());
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let stopped =
            shadow.stop(left).map_err(|why| self.unmet(why, ("close_deadline", patience)));
        stopped
            .inspect(|()| event!(INFO, "store closed"))
            .inspect_err(|error| failed("store closed, and not all is durable", error))
    }
}

impl Drop for Store {
    #[inline]
    fn drop(&mut self) {
        if self.inner.forks != fork::count() {
            // Left to the end of the forked child: the index cannot be taken apart there, for the
            // memory that it lies in is the parent's alone.
            let _left = ManuallyDrop::new(Arc::clone(&self.inner));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // An error here has nobody to go to: `close` is for who wants to know. In a forked child
        // the threads and locks are the parent's.
        let _ = self.close();
    }
}
