//! What happened on a simulated disk, and what a power cut at any point of it leaves behind.
//!
//! States of a write
//! - `in flight`: may have landed in part, whatever is synced meanwhile.
//! - `written --[a sync that started later succeeds]--> durable`
//! - `given up`: refused, or acknowledged before a sync that failed. No sync makes it durable; it
//!   may have landed, in part. What is durable later in its place wins over it.
//!
//! Invariants
//! - L1  Durable bytes are on the disk after any crash (bit rot aside).
//! - L2  Of all other writes, any subset of sectors is; one sector is there whole or not at all.
//!   Writes that overlap land in their order.
//!
//! Checked by: `tests/io_sim.rs`.
#![forbid(unsafe_code)]

use super::fault::Random;
use super::image::Image;
use crate::sync::Arc;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Number of an operation, in the order of submission.
pub(super) type OpNumber = u64;

/// One thing that happened; a crash point lies before, between and after any of them.
#[derive(Clone, Debug)]
pub(super) enum Event {
    WriteBegun {
        op: OpNumber,
        file: usize,
        offset: usize,
        bytes: Arc<[u8]>,
    },
    WriteDone {
        op: OpNumber,
    },
    WriteFailed {
        op: OpNumber,
    },
    SyncBegun {
        op: OpNumber,
    },
    SyncDone {
        op: OpNumber,
        file: usize,
    },
    SyncFailed {
        file: usize,
    },
    Rotted {
        file: usize,
        offset: usize,
        mask: u8,
    },
    Resized {
        file: usize,
        bytes: usize,
    },
    /// Acknowledged and not done.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    InFlight,
    /// Acknowledged, as the event of this number.
    Written(usize),
    GivenUp,
}

#[derive(Debug)]
struct Pending {
    op: OpNumber,
    file: usize,
    offset: usize,
    bytes: Vec<u8>,
    state: State,
}

/// The disk at one point of its log.
#[derive(Debug)]
pub(super) struct Replay {
    durable: Vec<Image>,
    /// Grows with each change of what is durable.
    changes: u64,
    /// In the order of submission.
    pending: Vec<Pending>,
    /// When syncs in flight began. Unit: events.
    sync_begun: BTreeMap<OpNumber, usize>,
}

impl Replay {
    /// Goes through `events`, from files that were durable as `base`.
    pub(super) fn new(base: &[Image], events: &[Event]) -> Self {
        let (pending, sync_begun) = (Vec::new(), BTreeMap::new());
        let mut replay = Self { durable: base.to_vec(), changes: 0, pending, sync_begun };
        for (at, event) in events.iter().enumerate() {
            replay.apply(at, event);
        }
        replay
    }

    /// Goes through the event of number `at`.
    pub(super) fn apply(&mut self, at: usize, event: &Event) {
        match event {
            Event::WriteBegun { op, file, offset, bytes } => self.pending.push(Pending {
                op: *op,
                file: *file,
                offset: *offset,
                bytes: bytes.to_vec(),
                state: State::InFlight,
            }),
            Event::WriteDone { op } => self.set_state(*op, State::Written(at)),
            Event::WriteFailed { op } => self.set_state(*op, State::GivenUp),
            Event::SyncBegun { op } => {
                self.sync_begun.insert(*op, at);
            }
            Event::SyncDone { op, file } => {
                let begun = self.sync_begun.remove(op).unwrap_or(0);
                self.make_durable(*file, begun);
            }
            Event::SyncFailed { file } => self.give_up(*file),
            Event::Rotted { file, offset, mask } => self.rot(*file, *offset, *mask),
            Event::Resized { file, bytes } => self.resize(*file, *bytes),
            Event::Nothing => {}
        }
    }

    fn set_state(&mut self, op: OpNumber, state: State) {
        for write in self.pending.iter_mut().filter(|write| write.op == op) {
            write.state = state;
        }
    }

    /// A sync of `file` that began as event `begun` has succeeded (L1).
    fn make_durable(&mut self, file: usize, begun: usize) {
        let mut earlier: Vec<Pending> = Vec::with_capacity(self.pending.len());
        for write in std::mem::take(&mut self.pending) {
            let is_covered = matches!(write.state, State::Written(done) if done < begun);
            if write.file != file || !is_covered {
                earlier.push(write);
                continue;
            }
            if let Some(image) = self.durable.get_mut(file) {
                image.store(write.offset, &write.bytes);
            }
            self.changes += 1;
            // What was given up before may still land, but not over this.
            let given_up = |over: &&mut Pending| over.state == State::GivenUp && over.file == file;
            for over in earlier.iter_mut().filter(given_up) {
                overlay(over, &write);
            }
        }
        self.pending = earlier;
    }

    /// A sync of `file` has failed.
    fn give_up(&mut self, file: usize) {
        let written =
            |write: &&mut Pending| write.file == file && matches!(write.state, State::Written(_));
        for write in self.pending.iter_mut().filter(written) {
            write.state = State::GivenUp;
        }
    }

    fn rot(&mut self, file: usize, offset: usize, mask: u8) {
        if let Some(image) = self.durable.get_mut(file) {
            image.invert(offset, mask);
        }
        self.changes += 1;
        for write in self.pending.iter_mut().filter(|write| write.file == file) {
            let at = offset.checked_sub(write.offset);
            if let Some(byte) = at.and_then(|at| write.bytes.get_mut(at)) {
                *byte ^= mask;
            }
        }
    }

    fn resize(&mut self, file: usize, bytes: usize) {
        if let Some(image) = self.durable.get_mut(file) {
            image.resize(bytes);
        }
        self.changes += 1;
        for write in self.pending.iter_mut().filter(|write| write.file == file) {
            write.bytes.truncate(bytes.saturating_sub(write.offset));
        }
    }

    /// The files after a power cut: what is durable, and of the rest what `seed` chooses (L2); and
    /// a number that is the same for another point and seed only if the files are.
    pub(super) fn crash(&self, seed: u64, sector_bytes: usize) -> (Vec<Image>, u64) {
        let mut sectors = Vec::new();
        for (number, write) in self.pending.iter().enumerate() {
            let mut start = 0;
            while start < write.bytes.len() {
                let end = (write.offset + start + 1).next_multiple_of(sector_bytes) - write.offset;
                sectors.push((number, start, end.min(write.bytes.len())));
                start = end;
            }
        }
        let mut choice = Choice::new(seed, sectors.len(), self.pending.len());
        let mut images = self.durable.clone();
        let mut digest = self.changes;
        for (at, (number, start, end)) in sectors.into_iter().enumerate() {
            let Some(write) = self.pending.get(number) else { continue };
            let part = write.bytes.get(start..end).unwrap_or_default();
            if choice.survives(at, number)
                && let Some(image) = images.get_mut(write.file)
            {
                image.store(write.offset + start, part);
                digest = xxh3_64_with_seed(&(write.op << 32 | start as u64).to_le_bytes(), digest);
            }
        }
        (images, digest)
    }

    /// What stands in for the log so far, if nothing is in flight: a base, and events.
    pub(super) fn condense(self) -> (Vec<Image>, Vec<Event>) {
        let mut events = Vec::with_capacity(self.pending.len() * 2);
        for write in self.pending {
            let Pending { op, file, offset, bytes, state } = write;
            events.push(Event::WriteBegun { op, file, offset, bytes: bytes.into() });
            events.push(match state {
                State::GivenUp => Event::WriteFailed { op },
                State::InFlight | State::Written(_) => Event::WriteDone { op },
            });
        }
        (self.durable, events)
    }
}

/// Which sectors survive. Fair coins alone would nearly never lose one sector of many, or all.
#[derive(Debug)]
enum Choice {
    None,
    All,
    Coins(Random),
    First(usize),
    AllButFirst(usize),
    AllButOne(usize),
    One(usize),
    /// Whole writes.
    Writes(Vec<bool>),
}

impl Choice {
    /// The last digit of `seed`, modulo 8, is the manner; the rest is chance.
    fn new(seed: u64, sectors: usize, writes: usize) -> Self {
        let mut random = Random(seed / 8);
        let at = random.below(sectors.max(1));
        match seed % 8 {
            0 => Self::None,
            1 => Self::All,
            2 => Self::Coins(random),
            3 => Self::First(at),
            4 => Self::AllButFirst(at),
            5 => Self::AllButOne(at),
            6 => Self::One(at),
            _ => Self::Writes(std::iter::repeat_with(|| random.coin()).take(writes).collect()),
        }
    }

    fn survives(&mut self, sector: usize, write: usize) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Coins(random) => random.coin(),
            Self::First(count) => sector < *count,
            Self::AllButFirst(count) => sector >= *count,
            Self::AllButOne(one) => sector != *one,
            Self::One(one) => sector == *one,
            Self::Writes(writes) => writes.get(write).copied().unwrap_or(false),
        }
    }
}

/// Gives `under` the bytes of `over` where the two overlap.
fn overlay(under: &mut Pending, over: &Pending) {
    let start = under.offset.max(over.offset);
    let end = (under.offset + under.bytes.len()).min(over.offset + over.bytes.len());
    if start >= end {
        return;
    }
    let source = over.bytes.get(start - over.offset..end - over.offset);
    let target = under.bytes.get_mut(start - under.offset..end - under.offset);
    if let (Some(target), Some(source)) = (target, source) {
        target.copy_from_slice(source);
    }
}
