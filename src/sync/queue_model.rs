//! The bounded queue in models, which cannot look into crossbeam's: a lock around a list. What is
//! pushed is before its pop, as there.

use super::{Mutex, lock};
use std::collections::VecDeque;

/// See `crossbeam_queue::ArrayQueue`.
#[derive(Debug)]
pub struct ArrayQueue<T> {
    items: Mutex<VecDeque<T>>,
    capacity: usize,
}

impl<T> ArrayQueue<T> {
    /// Empty, with room for `capacity` items.
    pub fn new(capacity: usize) -> Self {
        Self { items: Mutex::new(VecDeque::new()), capacity }
    }

    /// Appends `item`.
    ///
    /// # Errors
    ///
    /// The item, if the queue is full.
    pub fn push(&self, item: T) -> Result<(), T> {
        let mut items = lock(&self.items);
        if items.len() == self.capacity {
            return Err(item);
        }
        items.push_back(item);
        Ok(())
    }

    /// The first item.
    pub fn pop(&self) -> Option<T> {
        lock(&self.items).pop_front()
    }
}
