//! A cell under shuttle, which has none: two accesses at once, of which one writes, fail the model.
//!
//! A write lasts from one switch of threads to another, so that others can come in between. What
//! only an ordering keeps apart is loom's to find: here all is sequentially consistent.

use super::{AtomicU64, Relaxed};
use std::cell::{Cell, UnsafeCell};

/// See `loom::cell::UnsafeCell`.
#[derive(Debug, Default)]
pub struct ModelCell<T> {
    value: UnsafeCell<T>,
    readers: Cell<u32>,
    is_written: Cell<bool>,
}

impl<T> ModelCell<T> {
    /// A cell that holds `value`.
    pub fn new(value: T) -> Self {
        let (readers, is_written) = (Cell::new(0), Cell::new(false));
        Self { value: UnsafeCell::new(value), readers, is_written }
    }

    /// Reads: the pointer is good for that until `read` returns.
    pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        assert!(!self.is_written.get(), "a data race: read while it is written");
        self.readers.set(self.readers.get() + 1);
        let result = read(self.value.get());
        self.readers.set(self.readers.get() - 1);
        result
    }

    /// Writes: the pointer is good for that until `write` returns.
    pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        assert!(!self.is_written.get(), "a data race: written by two");
        assert!(self.readers.get() == 0, "a data race: written while it is read");
        self.is_written.set(true);
        // ORDERING: Relaxed. Shuttle switches threads at each access of an atomic, of any.
        AtomicU64::new(0).load(Relaxed);
        let result = write(self.value.get());
        self.is_written.set(false);
        result
    }
}
