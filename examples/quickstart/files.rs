//! The records of files: some are changed, and all are compared with what the files hold.

use crate::Outcome;
use crate::corpus::{Corpus, File};
use crate::crash::is_writers;
use brindle::{Record, Store};
use std::collections::HashSet;
use std::error::Error;
use std::{fmt, fs};

/// Of so many files one is deleted, and one overwritten.
const ONE_IN: usize = 10;

/// What becomes of a file's record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Kept,
    Deleted,
    /// By its bytes in reverse.
    Overwritten,
}

impl Fate {
    /// What [`change`] does to the file at this place of the corpus.
    pub fn of(place: usize) -> Self {
        match place % ONE_IN {
            1 => Self::Deleted,
            2 => Self::Overwritten,
            _ => Self::Kept,
        }
    }
}

/// Deletes some records and overwrites others. Returns how many of each.
pub fn change(store: &Store, corpus: &Corpus) -> Outcome<(u64, u64)> {
    let (mut deleted, mut overwritten) = (0, 0);
    for (place, file) in corpus.files.iter().enumerate() {
        let was_there = match Fate::of(place) {
            Fate::Kept => continue,
            Fate::Deleted => {
                deleted += 1;
                store.delete(&file.key)?
            }
            Fate::Overwritten => {
                overwritten += 1;
                store.update(&file.key, |old| old.map(reversed))?.is_some()
            }
        };
        if !was_there {
            return Err(missing(&file.key));
        }
    }
    Ok((deleted, overwritten))
}

/// Compares every record of a file with the file, and finds no other one but the writer's. Returns
/// the bytes compared.
pub fn compare(store: &Store, corpus: &Corpus, fate: impl Fn(usize) -> Fate) -> Outcome<u64> {
    let mut bytes = 0;
    let mut expected = HashSet::new();
    for (place, file) in corpus.files.iter().enumerate() {
        let fate = fate(place);
        match (store.get(&file.key), fate) {
            (None, Fate::Deleted) => continue,
            (Some(_), Fate::Deleted) => {
                return Err(format!("{} was deleted, and is back", name(&file.key)).into());
            }
            (None, Fate::Kept | Fate::Overwritten) => return Err(missing(&file.key)),
            (Some(record), Fate::Kept | Fate::Overwritten) => {
                bytes += compare_one(&record, file, fate)?;
            }
        }
        expected.insert(file.key.as_slice());
    }
    let mut seen = 0;
    for record in store.scan().filter(|record| !is_writers(record.key())) {
        if !expected.contains(record.key()) {
            return Err(format!("{} was never put", name(record.key())).into());
        }
        seen += 1;
    }
    if seen != expected.len() {
        return Err(format!("a scan returned {seen} of {} records", expected.len()).into());
    }
    Ok(bytes)
}

fn compare_one(record: &Record<'_>, file: &File, fate: Fate) -> Outcome<u64> {
    let mut contents = fs::read(&file.path)?;
    if fate == Fate::Overwritten {
        contents.reverse();
    }
    if **record != *contents {
        let name = name(&file.key);
        return Err(format!("{name} differs from its file; or was that changed meanwhile?").into());
    }
    Ok(contents.len() as u64)
}

/// The error about a record that should be there.
pub fn missing(key: &[u8]) -> Box<dyn Error> {
    format!("{} was put, and is missing", name(key)).into()
}

fn reversed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().rev().copied().collect()
}

fn name(key: &[u8]) -> impl fmt::Display {
    key.escape_ascii()
}
