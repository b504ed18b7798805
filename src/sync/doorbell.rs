//! A doorbell: anybody rings, one thread sleeps until somebody has.
//!
//! A ring before the wait is not lost: the bell stays rung until a wait takes it. Ringing costs a
//! lock, and a system call if the thread sleeps: nothing for the path of a put.

use super::{Condvar, Mutex, lock};

/// Rung by many, waited for by one.
#[derive(Debug, Default)]
pub struct Doorbell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Doorbell {
    /// Silent.
    pub fn new() -> Self {
        Self { rung: Mutex::new(false), changed: Condvar::new() }
    }

    /// Wakes the waiting thread, now or when it next waits.
    pub fn ring(&self) {
        let mut rung = lock(&self.rung);
        if !*rung {
            *rung = true;
            self.changed.notify_one();
        }
    }

    /// Sleeps until rung, or for `timeout` if there is one. True: it was rung.
    #[cfg(not(any(loom, shuttle)))]
    pub fn wait(&self, timeout: Option<std::time::Duration>) -> bool {
        use std::sync::PoisonError;
        let rung = lock(&self.rung);
        let mut rung = match timeout {
            None => {
                self.changed.wait_while(rung, |rung| !*rung).unwrap_or_else(PoisonError::into_inner)
            }
            Some(timeout) => {
                self.changed
                    .wait_timeout_while(rung, timeout, |rung| !*rung)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        std::mem::take(&mut rung)
    }
}
