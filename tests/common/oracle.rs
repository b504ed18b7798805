//! What a store may read as after a power cut: a log of what was written to it, with the barriers
//! and the clock floors that are known to be durable.
//!
//! A key may read as what it was when the last barrier completed by then began, or as anything that
//! was written since, and as nothing else. What has expired reads as absent; whether it has is told
//! by the clock of the store that reads, which starts at the durable floor at least.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests")]

use brindle::{Store, Version};
use std::collections::BTreeMap;
use std::fmt;
use std::time::UNIX_EPOCH;

/// A record as a reader sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct Life {
    pub value: Vec<u8>,
    pub version: Version,
    /// The last instant of its life. Unit: microseconds since 1970.
    pub expires_us: Option<u64>,
}

/// Short: a value's length stands for it.
impl fmt::Debug for Life {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} B at {}", self.value.len(), u64::from(self.version))?;
        self.expires_us.map_or(Ok(()), |expires_us| write!(out, " until {expires_us}"))
    }
}

/// What is to see of a key; `None`: dead.
pub type Seen = Option<Life>;
pub type Contents = BTreeMap<Vec<u8>, Life>;

/// One write that was acknowledged.
#[derive(Clone, Debug)]
struct Write {
    /// Its place among all writes.
    number: usize,
    /// Events of the disk before it.
    event: usize,
    seen: Seen,
}

/// What was written to a disk since it had no past, and what of it is known to be durable.
#[derive(Debug, Default)]
pub struct Log {
    /// Each key's writes, the oldest first.
    keys: BTreeMap<Vec<u8>, Vec<Write>>,
    writes: usize,
    /// Writes that a barrier covers, and the events when it had completed.
    barriers: Vec<(usize, usize)>,
    /// No clock may start below, from these events on.
    floors: Vec<(usize, u64)>,
}

impl Log {
    /// Of a disk on which `contents`, out of `keys`, are durable.
    pub fn new(keys: impl IntoIterator<Item = Vec<u8>>, contents: &Contents) -> Self {
        let mut log = Self::default();
        for key in keys {
            log.note(&key, 0, contents.get(&key).cloned());
        }
        log.barriers.push((log.writes, 0));
        log
    }

    /// The log from now on, when the last write of each key is durable, and no past.
    pub fn rebased(&self) -> Self {
        let mut log = Self::new(self.keys.keys().cloned(), &self.current(0));
        log.note_floor(0, latest(&self.floors, usize::MAX));
        log
    }

    /// A write that was acknowledged after `event` events.
    pub fn note(&mut self, key: &[u8], event: usize, seen: Seen) {
        let number = self.writes;
        self.writes += 1;
        let write = Write { number, event, seen };
        self.keys.entry(key.to_vec()).or_default().push(write);
    }

    /// Writes so far: what a barrier that begins now covers.
    pub fn writes(&self) -> usize {
        self.writes
    }

    /// The first `covered` writes are durable after `event` events.
    pub fn note_barrier(&mut self, covered: usize, event: usize) {
        self.barriers.push((covered, event));
    }

    /// What expires before `floor_us` is dead for good after `event` events.
    pub fn note_floor(&mut self, event: usize, floor_us: u64) {
        self.floors.push((event, floor_us));
    }

    /// The store was opened anew without a power cut, at `now_us`, between the events `from` and
    /// `upto`: it reads as `contents`, of which everything is durable when it is open.
    pub fn reopened(&mut self, contents: &Contents, (from, upto): (usize, usize), now_us: u64) {
        let keys: Vec<_> = self.keys.keys().cloned().collect();
        for key in keys {
            self.note(&key, from, contents.get(&key).cloned());
        }
        self.note_barrier(self.writes, upto);
        self.note_floor(upto, now_us);
    }

    pub fn has_key(&self, key: &[u8]) -> bool {
        self.keys.contains_key(key)
    }

    pub fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.keys.keys()
    }

    /// True if `key` was ever written as `seen`.
    pub fn was_written(&self, key: &[u8], seen: Option<&Life>) -> bool {
        self.keys[key].iter().any(|write| write.seen.as_ref() == seen)
    }

    /// What a running store has at `now_us`: the last write of each key.
    pub fn current(&self, now_us: u64) -> Contents {
        let last = |writes: &Vec<Write>| reads_as(&writes.last()?.seen, now_us);
        self.keys.iter().filter_map(|(key, writes)| Some((key.clone(), last(writes)?))).collect()
    }

    /// What `key` may read as after a crash at `point`, by a clock at `now_us`, the oldest first.
    fn allowed(&self, key: &[u8], point: usize, now_us: u64) -> Vec<Seen> {
        let now_us = now_us.max(latest(&self.floors, point));
        let covered = self.barriers.iter().filter(|(_, done)| *done <= point);
        let durable = covered.map(|(upto, _)| *upto).max().unwrap_or(0);
        let writes = &self.keys[key];
        let floor = writes.iter().rposition(|write| write.number < durable).unwrap_or(0);
        let rest = writes[floor + 1..].iter().filter(|write| write.event <= point);
        writes[floor..=floor]
            .iter()
            .chain(rest)
            .map(|write| reads_as(&write.seen, now_us))
            .collect()
    }

    /// Holds what a store reads as at `now_us`, after a crash at `point`, to the log.
    pub fn check(&self, contents: &Contents, point: usize, now_us: u64) -> Result<(), String> {
        if let Some(key) = contents.keys().find(|key| !self.has_key(key)) {
            return Err(format!("{} was never put", key.escape_ascii()));
        }
        for key in self.keys.keys() {
            let seen = contents.get(key).cloned();
            let allowed = self.allowed(key, point, now_us);
            if !allowed.contains(&seen) {
                let key = key.escape_ascii();
                return Err(format!("{key} reads as {seen:?}, not one of {allowed:?}"));
            }
        }
        Ok(())
    }
}

fn latest(floors: &[(usize, u64)], point: usize) -> u64 {
    let known = floors.iter().filter(|(event, _)| *event <= point);
    known.map(|(_, floor_us)| *floor_us).max().unwrap_or(0)
}

/// A record lives through the instant of its expiry.
fn reads_as(seen: &Seen, now_us: u64) -> Seen {
    seen.clone().filter(|life| life.expires_us.is_none_or(|expires_us| now_us <= expires_us))
}

/// All that is there, by scan, and the same by get.
pub fn contents(store: &Store) -> Contents {
    let mut contents = Contents::new();
    for record in store.scan() {
        let since = record.expires_at().map(|at| at.duration_since(UNIX_EPOCH));
        let expires_us = since.map(|since| since.expect("after 1970").as_micros());
        let life = Life {
            value: record.to_vec(),
            version: record.version(),
            expires_us: expires_us.map(|micros| u64::try_from(micros).expect("a near instant")),
        };
        let got = store.get(record.key()).expect("a scanned record can be got");
        assert!((&*got, got.version()) == (&*record, record.version()), "scan and get differ");
        assert!(contents.insert(record.key().to_vec(), life).is_none(), "scanned twice");
    }
    // Expired ones count until they are swept.
    assert!(store.len() >= contents.len());
    contents
}
