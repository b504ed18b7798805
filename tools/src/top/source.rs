//! The file of a host, read whole, and whether the host still writes it.
//!
//! The host replaces the file by a rename: what is opened is one snapshot. Whether its host lives
//! is told by the time since the last one, and only then by its process: a host in a container has
//! another number here.

use super::snapshot::{Preface, Snapshot, VERSION};
use crate::error::Failure;
use crate::live::now_us;
use schemars::JsonSchema;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// In a directory, the file of this name.
const NAME: &str = "top.json";
/// What is longer is no such file: 1,024 stripes have some 300 KiB.
const BYTES_MAX: u64 = 64 << 20;
/// A host that has not written for so long, and four times what it said, does not write.
const SILENCE: Duration = Duration::from_secs(2);
const SILENCE_CADENCES: u64 = 4;

/// How a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Host {
    /// It writes.
    Running,
    /// It writes, and has called `close`.
    Closing,
    /// Its process is there, and does not write.
    Silent,
    /// Its process is gone, and the store was not closed.
    Ended,
    /// It has closed the store, and removed the file, since it was last read.
    Closed,
}

/// A look at the file.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) snapshot: Snapshot,
    pub(crate) host: Host,
    /// Since the snapshot was written. Unit: milliseconds.
    pub(crate) age_ms: u64,
    /// It was not there at the last look.
    pub(crate) is_new: bool,
}

/// Where to look.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    last: Option<Seen>,
}

/// A snapshot, when it was first seen, and how old it was then by the clocks on the wall, which may
/// be turned as they like later on.
#[derive(Debug)]
struct Seen {
    snapshot: Snapshot,
    since: Instant,
    age_ms: u64,
}

impl Seen {
    fn age_ms(&self) -> u64 {
        self.age_ms.saturating_add(millis(self.since.elapsed()))
    }
}

impl Source {
    pub(crate) fn new(path: &Path) -> Self {
        let path = if path.is_dir() { path.join(NAME) } else { path.to_owned() };
        Self { path, last: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file anew; when there is none any more, what it last said.
    ///
    /// # Errors
    ///
    /// There has been none yet, or it is none of a host's.
    pub(crate) fn look(&mut self) -> Result<Look, Failure> {
        let read = self.read();
        let seen = self.last.take();
        let (snapshot, is_gone) = match (read, &seen) {
            (Ok(snapshot), _) => (snapshot, false),
            (Err(Failure::NotPublished { .. }), Some(seen)) => (seen.snapshot.clone(), true),
            (Err(failure), _) => {
                self.last = seen;
                return Err(failure);
            }
        };
        let is_same = |seen: &Seen| {
            let (was, is) = (&seen.snapshot, &snapshot);
            (was.number, was.written_at_us) == (is.number, is.written_at_us)
        };
        let is_new = !seen.as_ref().is_some_and(is_same);
        let seen = match seen {
            Some(seen) if !is_new => seen,
            earlier => {
                let by_wall = now_us(0).saturating_sub(snapshot.written_at_us) / 1_000;
                let age_ms = if earlier.is_some() { 0 } else { by_wall };
                Seen { snapshot: snapshot.clone(), since: Instant::now(), age_ms }
            }
        };
        let age_ms = seen.age_ms();
        self.last = Some(seen);
        let host = if is_gone { Host::Closed } else { host_of(&snapshot, age_ms) };
        Ok(Look { snapshot, host, age_ms, is_new })
    }

    fn read(&self) -> Result<Snapshot, Failure> {
        let path = || self.path.clone();
        let refused = |source: io::Error| {
            if source.kind() == io::ErrorKind::NotFound {
                return Failure::NotPublished { path: path() };
            }
            if source.kind() == io::ErrorKind::PermissionDenied {
                return Failure::NotYours { path: path() };
            }
            Failure::File { op: "read", path: path(), source }
        };
        let strange = |found: String| Failure::NotTop { path: path(), found };
        if !fs::metadata(&self.path).map_err(refused)?.is_file() {
            return Err(strange("it is no file".to_owned()));
        }
        let mut text = Vec::new();
        let file = File::open(&self.path).map_err(refused)?;
        file.take(BYTES_MAX).read_to_end(&mut text).map_err(refused)?;
        let preface: Preface =
            serde_json::from_slice(&text).map_err(|error| strange(error.to_string()))?;
        if preface.brindle_top > VERSION {
            let (version, engine) = (preface.brindle_top, preface.engine_version);
            return Err(Failure::NewerTop { path: path(), version, engine });
        }
        serde_json::from_slice(&text).map_err(|error| strange(error.to_string()))
    }
}

fn host_of(snapshot: &Snapshot, age_ms: u64) -> Host {
    let patience_ms = snapshot.cadence_ms.saturating_mul(SILENCE_CADENCES).max(millis(SILENCE));
    if age_ms <= patience_ms {
        return if snapshot.is_closing { Host::Closing } else { Host::Running };
    }
    if is_alive(snapshot) { Host::Silent } else { Host::Ended }
}

/// The process that wrote it is there, and is not another one of the same number.
fn is_alive(snapshot: &Snapshot) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", snapshot.pid)) else { return false };
    // Behind the name, which may hold anything: the state, and as the 20th when it started.
    let mut behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind).split_whitespace();
    let is_dead = behind.next().is_some_and(|state| matches!(state, "Z" | "X"));
    let started = behind.nth(18).and_then(|started| started.parse().ok());
    !is_dead && snapshot.pid_started.is_none_or(|at| started == Some(at))
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
