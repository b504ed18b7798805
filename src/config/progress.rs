//! How far a cold start or a snapshot is, for whoever waits for it.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How far a cold start is; or a snapshot, which reads from memory and writes what is counted here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Records that verified so far, older copies and tombstones included. Of a snapshot: those
    /// that are in it so far.
    pub records: u64,
    /// Bytes of the shadow that were read so far. Of a snapshot: of the records in it.
    pub bytes: u64,
    /// Bytes of the shadow that there are to read. Only falls, where less turns out to be in use.
    /// Of a snapshot: an estimate.
    pub bytes_total: u64,
    /// Time since the beginning.
    pub elapsed: Duration,
    /// Time that the rest will take at the rate so far; `None` while there is no rate yet.
    pub left: Option<Duration>,
}

impl Progress {
    /// So many records and bytes after `elapsed`, the time left reckoned from them.
    pub(crate) fn at(records: u64, bytes: u64, bytes_total: u64, elapsed: Duration) -> Self {
        let rest = bytes_total.saturating_sub(bytes);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let left = (bytes > 0).then(|| elapsed.mul_f64(rest as f64 / bytes as f64));
        Self { records, bytes, bytes_total, elapsed, left }
    }
}

/// The host's callback, shared by every clone of the configuration.
#[derive(Clone)]
pub struct OnProgress(Arc<dyn Fn(&Progress) + Send + Sync>);

impl OnProgress {
    /// Takes the host's `callback`.
    pub fn new(callback: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(callback))
    }

    /// Tells the host.
    pub fn report(&self, progress: &Progress) {
        (self.0)(progress);
    }
}

/// A callback has no more to show than that it is there.
impl fmt::Debug for OnProgress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("OnProgress")
    }
}
