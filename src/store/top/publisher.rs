//! The thread that publishes, and its life.
//!
//! It knows the store, and so must neither keep it open nor be the one that closes it: the store
//! is closed by `close`, or by the last of its [`Handles`], and ends the thread then.
//!
//! Invariants
//! - T1  While the store is open or being closed, at most one thread publishes; after a close,
//!   none does: `publish_top` looks at the status under the lock that `end` takes.
//! - T2  The thread's clone of `inner` is gone before `end` returns.
//!
//! Checked by: `tests/top.rs`.
#![forbid(unsafe_code)]

use super::document::{Document, Host, Turn, appended_bytes, millis};
use super::file::TopFile;
use crate::error::{Error, Result};
use crate::store::{Inner, Store};
use crate::sync::{Arc, AtomicBool, Doorbell, Mutex, Relaxed, lock, thread};
use crate::trace::notice;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, io};

/// Between two snapshots.
const CADENCE: Duration = Duration::from_millis(250);
/// Of the time, at most one part in so many goes into snapshots: a large store has more to look at.
const SHARE: u32 = 100;

/// What every clone of a store has; the last one closes the store, though a thread may know it.
pub(in crate::store) struct Handles(pub(in crate::store) Arc<Inner>);

impl Drop for Handles {
    fn drop(&mut self) {
        // As when the last one who knows the store drops: an error has nobody to go to.
        let _ = self.0.close();
    }
}

impl fmt::Debug for Handles {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Handles").finish_non_exhaustive()
    }
}

impl Store {
    /// From now on writes how the store is to a file at `path`, four times a second, for `brindle
    /// top` to show. A second call moves it to another path; `close` removes it.
    ///
    /// The file holds one JSON document, with [`stats`](Self::stats), [`health`](Self::health), a
    /// map of the wblocks and, with [`sample_latencies`](Self::sample_latencies), rates and
    /// latencies of calls; no keys and no values. Only the user that the host runs as may read it.
    /// It is replaced by a rename, so that nobody reads half of one, and it is refused to replace a
    /// file of another kind. What a host that was killed leaves behind says when it was written,
    /// and is replaced by the next one. Each store needs a path of its own.
    ///
    /// Cost: a thread that wakes four times a second, for some 0.06% of a core, and twice that if
    /// the file is on a disk, to which each one of some kilobytes goes: choose a path in memory
    /// (`/run`, `/dev/shm`) where that matters. From 100,000 wblocks on it has more to look at, and
    /// writes less often, so that it takes 1% of a core at most. Gets and puts pay nothing; a clone
    /// of a store has one more count to change, as soon as the feature is there. A file that cannot
    /// be written is tried again, and told once (feature `tracing`).
    ///
    /// ```
    /// # use brindle::{Config, Store};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("top.json");
    /// let store = Store::open(Config::new().data_size(64 << 20))?;
    /// store.sample_latencies("users", 1_000); // one call in 1,000; without it, no rates of calls
    /// store.publish_top(&path)?;
    /// assert!(path.exists()); // `brindle top` shows it
    /// store.close()?;
    /// assert!(!path.exists());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: the file cannot be written, something else is there, or no thread is to be
    /// had. Nothing is published then, and the file of an earlier call is gone. [`Error::Closed`],
    /// [`Error::Forked`].
    pub fn publish_top(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut running = lock(&self.inner.publisher.0);
        self.inner.check_open()?; // T1
        if let Some(running) = running.take() {
            running.end();
        }
        *running = Some(Running::start(Arc::clone(&self.inner), path.as_ref())?);
        Ok(())
    }
}

/// Publishes one store, or does not.
#[derive(Debug, Default)]
pub(in crate::store) struct Publisher(Mutex<Option<Running>>);

impl Publisher {
    /// Ends the thread, removes the file, and waits for both.
    pub(in crate::store) fn end(&self) {
        if let Some(running) = lock(&self.0).take() {
            running.end();
        }
    }
}

#[derive(Debug)]
struct Running {
    wish: Arc<Wish>,
    thread: thread::JoinHandle<()>,
}

/// What the thread is told.
#[derive(Debug, Default)]
struct Wish {
    stop: AtomicBool,
    bell: Doorbell,
}

impl Running {
    /// Publishes once, and starts the thread that goes on.
    fn start(inner: Arc<Inner>, path: &Path) -> Result<Self> {
        let file = TopFile::at(path)?;
        let failed = |op| move |source| Error::Io { op, path: path.to_owned(), source };
        let mut task = Task {
            appended_before: appended_bytes(&inner),
            inner,
            file,
            host: Host::new(),
            began: Instant::now(),
            number: 0,
            looked: Duration::ZERO,
            pause: CADENCE,
        };
        task.publish().map_err(failed("publish at"))?;
        let wish = Arc::new(Wish::default());
        let theirs = Arc::clone(&wish);
        let path = path.to_owned();
        let spawned =
            thread::Builder::new().name("brindle-top".into()).spawn(move || task.run(&theirs));
        let thread = spawned.map_err(|source| {
            // The task, and so the file's owner, went with the thread that did not come to be.
            let _ = std::fs::remove_file(&path);
            Error::Io { op: "start a thread for", path, source }
        })?;
        Ok(Self { wish, thread })
    }

    fn end(self) {
        // ORDERING: Relaxed. The bell's lock orders it before the thread's next look.
        self.wish.stop.store(true, Relaxed);
        self.wish.bell.ring();
        // A panic of the thread was reported by its own hook; there is nothing to undo.
        let _ = self.thread.join();
    }
}

/// What the thread has.
struct Task {
    inner: Arc<Inner>,
    file: TopFile,
    host: Host,
    began: Instant,
    /// What is counted starts here.
    appended_before: u64,
    /// Snapshots so far.
    number: u64,
    /// What it took to look at the store the last time.
    looked: Duration,
    /// Until the next one.
    pause: Duration,
}

impl Task {
    fn run(mut self, wish: &Wish) {
        let mut was_told = false;
        loop {
            wish.bell.wait(Some(self.pause));
            // ORDERING: Relaxed, pairs with `end` through the bell's lock.
            if wish.stop.load(Relaxed) {
                break;
            }
            if let Err(error) = self.publish()
                && !was_told
            {
                let path = self.file.path().display();
                notice(&format!("{path} cannot be written ({error}): `brindle top` sees the past"));
                was_told = true;
            }
        }
        self.file.remove();
    }

    fn publish(&mut self) -> io::Result<()> {
        self.number += 1;
        let before = Instant::now();
        let document = Document::of(&self.inner, &self.host, self.appended_before);
        // The shorter of two: one may have been interrupted.
        let last = std::mem::replace(&mut self.looked, before.elapsed());
        self.pause = CADENCE.max(self.looked.min(last) * SHARE);
        let text = document.write(Turn {
            number: self.number,
            publishing_ms: millis(self.began.elapsed()),
            cadence_ms: millis(self.pause),
        })?;
        self.file.replace(&text)
    }
}

/// Microseconds since 1970, as the clock on the wall has it just now: what a reader compares with.
pub(super) fn wall_us() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
