//! What the journals say of one store: what each key may read as.
//!
//! A key is at the last state known to be durable or at one submitted after that (invariant 4),
//! what was deleted or has expired stays dead (invariant 5), and nothing else is there.

use super::work::{Act, KEYS, SHARED_KEYS, THREADS, Write1, key_name};
use brindle::{Health, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::path::Path;

/// By key, in the order of the writes.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// What a key may be, the oldest first; the first is known to be durable. No entry: absent.
    keys: BTreeMap<u64, Vec<Write1>>,
    /// All that was ever submitted.
    history: BTreeMap<u64, Vec<Write1>>,
    /// Bytes of the journal that were read.
    read: usize,
    /// Writes may fail: the disk is a faulty one.
    bears_errors: bool,
    pub kills: u64,
    pub writes: u64,
    pub acknowledged: u64,
    /// Writes that failed.
    pub errors: u64,
}

impl Oracle {
    /// Of a store whose writes may fail.
    pub fn of_a_faulty_disk() -> Self {
        Self { bears_errors: true, ..Self::default() }
    }

    /// Adds what `other` counted.
    pub fn count(&mut self, other: &Self) {
        self.kills += other.kills;
        self.writes += other.writes;
        self.acknowledged += other.acknowledged;
        self.errors += other.errors;
    }

    /// Reads what the last child has added to its journal.
    pub fn read(&mut self, journal: &Path) {
        self.read_until(journal, usize::MAX);
    }

    /// As [`read`](Self::read), when what was noted as durable behind byte `end` does not count:
    /// there was no disk any more.
    pub fn read_until(&mut self, journal: &Path, end: usize) {
        let text = fs::read_to_string(journal).unwrap_or_default();
        // A line that was cut short announces a write that was never begun.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let from = self.read.min(whole);
        let new = &text[from..whole];
        self.read = whole;
        if whole < text.len() {
            // The next child's first line is not to follow on half a one.
            let journal = OpenOptions::new().write(true).open(journal);
            journal.and_then(|journal| journal.set_len(whole as u64)).expect("a journal");
        }
        let mut submitted: BTreeMap<u64, Write1> = BTreeMap::new();
        let (mut durable, mut failed) = (BTreeSet::new(), BTreeSet::new());
        let mut at = from;
        for line in new.lines() {
            at += line.len() + 1;
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().expect("a number");
            match words[0] {
                "S" => {
                    let write = parse(&words);
                    submitted.insert(write.number, write);
                    self.writes += 1;
                }
                "A" | "D" if at > end => {}
                "D" => {
                    durable.insert(number(1));
                }
                "A" => {
                    let thread = number(1) % THREADS;
                    let upto = submitted.range(..=number(1)).map(|(number, _)| *number);
                    durable.extend(upto.filter(|number| number % THREADS == thread));
                }
                "F" => {
                    submitted.remove(&number(1));
                }
                "E" if self.bears_errors => {
                    failed.insert(number(1));
                }
                other => panic!("the child met an error: {other} {line}"),
            }
        }
        self.errors += failed.len() as u64;
        // Whether a write that failed was done at all is not known, flush or not.
        durable.retain(|number| !failed.contains(number));
        self.acknowledged += durable.len() as u64;
        let mut by_key: BTreeMap<u64, Vec<Write1>> = BTreeMap::new();
        for write in submitted.into_values() {
            by_key.entry(write.key).or_default().push(write);
        }
        for (key, mut writes) in by_key {
            // One thread's writes come in the order of their numbers, shared ones in that of
            // their versions.
            writes.sort_by_key(|write| (write.version, write.number));
            self.history.entry(key).or_default().extend(&writes);
            let candidates = self.keys.entry(key).or_insert_with(|| vec![absent(key)]);
            let last = writes.iter().rposition(|write| durable.contains(&write.number));
            if last.is_some() {
                candidates.clear();
            }
            candidates.extend(writes.into_iter().skip(last.unwrap_or(0)));
        }
    }

    /// Holds the store against what was journalled; what it says is the base of the next run.
    pub fn check(&mut self, store: &Store, context: &str) {
        assert_eq!(store.health(), Health::Ok, "{context}: {:?}", store.stats().load);
        self.check_keys(store, context);
    }

    /// The same, whatever the store says of its health.
    pub fn check_keys(&mut self, store: &Store, context: &str) {
        let mut present = BTreeSet::new();
        for key in 0..KEYS + SHARED_KEYS {
            let candidates = self.keys.entry(key).or_insert_with(|| vec![absent(key)]);
            let matching = matching(store, key, candidates);
            if matching.is_empty() {
                let found = store.get(key_name(key));
                let found = found.map(|record| (record.version(), record.len()));
                panic!(
                    "{context}: {} is {found:?}, but may only be one of {candidates:?}; {:?}",
                    key_name(key),
                    store.stats().load
                );
            }
            if store.get(key_name(key)).is_some() {
                present.insert(key_name(key));
            }
            *candidates = matching;
        }
        check_scan(store, &present, context);
    }

    /// For a device that lied, and so may have lost anything: what is there was once put under its
    /// key. Returns the keys that are not at a state that an honest device would have kept.
    pub fn check_after_lies(&self, store: &Store, context: &str) -> usize {
        let mut present = BTreeSet::new();
        let mut wrong = 0;
        for key in 0..KEYS + SHARED_KEYS {
            let durable = self.keys.get(&key).cloned().unwrap_or_else(|| vec![absent(key)]);
            wrong += usize::from(matching(store, key, &durable).is_empty());
            if store.get(key_name(key)).is_some() {
                present.insert(key_name(key));
                let ever = self.history.get(&key).cloned().unwrap_or_default();
                let matching = matching(store, key, &ever);
                assert!(!matching.is_empty(), "{context}: {} was never put so", key_name(key));
            }
        }
        check_scan(store, &present, context);
        wrong
    }
}

fn parse(words: &[&str]) -> Write1 {
    let number = |at: usize| words[at].parse::<u64>().expect("a number");
    let act = match words[4] {
        "P" => Act::Put,
        "U" => Act::Update,
        "X" => Act::PutExpired,
        _ => Act::Delete,
    };
    let bytes = usize::try_from(number(5)).expect("a length");
    Write1 { number: number(1), key: number(2), version: number(3), act, bytes }
}

/// Those of `candidates` that look as the store reads; several may look alike: absent is absent,
/// and values may be empty.
fn matching(store: &Store, key: u64, candidates: &[Write1]) -> Vec<Write1> {
    let found = store.get(key_name(key));
    let is_match = |write: &&Write1| match &found {
        Some(record) => {
            let version = u64::from(record.version());
            let is_version = write.version == 0 || write.version == version;
            write.is_value() && is_version && record.value() == write.value()
        }
        None => !write.is_value(),
    };
    candidates.iter().filter(is_match).copied().collect()
}

fn check_scan(store: &Store, present: &BTreeSet<String>, context: &str) {
    let scanned: Vec<String> =
        store.scan().map(|record| String::from_utf8_lossy(record.key()).into()).collect();
    assert_eq!(scanned.len(), present.len(), "{context}: a scan sees each once");
    assert_eq!(&scanned.into_iter().collect::<BTreeSet<_>>(), present, "{context}");
}

/// The state of a key that was never written.
fn absent(key: u64) -> Write1 {
    Write1 { number: 0, key, version: 0, act: Act::Delete, bytes: 0 }
}
