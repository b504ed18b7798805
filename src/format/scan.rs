//! The walk over one wblock of a shadow: what is whole, what is torn, what has rotted.
//!
//! The walk starts behind the header and follows the lengths in the commit words. Where something
//! does not verify its length means nothing, so the walk goes on rblock by rblock and looks at each
//! commit word of this life, until something verifies again. Words of another life are not ours.
//!
//! What is met at an rblock, and what follows
//!
//! | met                                     | then                                        |
//! |-----------------------------------------|---------------------------------------------|
//! | a record or padding that verifies       | report it, skip its length                  |
//! | a record whose head verifies alone      | damage, with its key; skip its length       |
//! | a word of this life that leads nowhere  | damage; look at the next rblock             |
//! | any other word                          | the end, unless more verifies behind it     |
//!
//! Torn or rotten? A flush starts only when the previous one of its wblock is durable (P1 in
//! `padding.rs`). Damage at `p` is rot (it was durable once) if a `FlushEnd` that verifies lies
//! behind `p` and has something behind its end that verifies, or began behind `p`. All else is
//! torn: a write that was never durable, about which no promise was given. (A record of which only
//! head and key verify is proof enough that a later flush had begun.)
//!
//! Invariants
//! - W1  Each rblock is looked at once, in ascending order: the walk ends, and reports in order.
//! - W2  Bytes that verify are digested once. Bytes that do not are at most `BUDGET_WBLOCKS` times
//!   the image and one key: commit words that overlap on purpose cannot make the walk quadratic.
//!   Heads that were really written do not overlap, and stay under one image.
//!
//! Checked by: `tests/format_scan.rs`, `tests/format_props.rs`.
#![forbid(unsafe_code)]

use std::fmt;

use super::commit::{CommitWord, RECORD_RBLOCKS_MAX};
use super::key::StoreKey;
use super::padding::Padding;
use super::view::{RecordView, Verdict};
use crate::planted::{Bug, is_planted};
use crate::unit::{Location, RBLOCK_BYTES, SECTOR_RBLOCKS, Sequence, WBLOCK_HEADER_RBLOCKS};

/// Digests of bytes that then fail to verify: at most so many times the bytes of the image (W2).
const BUDGET_WBLOCKS: u64 = 4;

/// Which life of which wblock is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WblockPlace {
    /// The store's key.
    pub store_key: StoreKey,
    /// The wblock's first rblock: its header's place.
    pub first_location: Location,
    /// The sequence in its header.
    pub header_sequence: Sequence,
}

/// Does damage count?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// A write that was never durable. It does not count; an older copy of the key does.
    Torn,
    /// Was durable once; or is whole but not for this version of the engine; or was not looked at.
    /// An older copy of the key must not come back as if it were current.
    Rot,
}

/// Why bytes of a wblock do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageCause {
    /// No commit word of this life, yet something behind it verifies.
    Gap,
    /// Head or key of a record do not verify, or its length is impossible.
    BadHead,
    /// Head and key of a record verify, its value does not.
    BadValue,
    /// A padding does not verify.
    BadPadding,
    /// A whole record with a flag that this version does not know.
    Unsupported,
    /// So much failed to verify that the rest of the wblock was not looked at (W2).
    GaveUp,
}

impl fmt::Display for DamageKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Torn => "torn",
            Self::Rot => "rot",
        })
    }
}

impl fmt::Display for DamageCause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Gap => "gap",
            Self::BadHead => "bad head",
            Self::BadValue => "bad value",
            Self::BadPadding => "bad padding",
            Self::Unsupported => "unsupported flag",
            Self::GaveUp => "gave up",
        })
    }
}

/// A span of a wblock that does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it starts. Unit: rblocks from the start of the wblock.
    pub rblock: u32,
    /// How far it goes.
    pub rblocks: u32,
    /// Does it count?
    pub kind: DamageKind,
    /// What is wrong.
    pub cause: DamageCause,
    /// The rblock of a record whose head and key verify: this key is what was lost.
    pub key: Option<u32>,
}

/// What one walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WblockScan {
    /// Records that verified.
    pub records: u32,
    /// Bytes that they take, headers and padding included.
    pub bytes: u64,
    /// Flush ends that verified.
    pub flushes: u32,
    /// The rblock behind the last record or padding that verified: from here on nothing counts.
    pub end_rblock: u32,
    /// What did not verify, in ascending order.
    pub damage: Vec<Damage>,
}

impl WblockScan {
    /// For a wblock that was durable as a whole: nothing in it is torn.
    pub fn judge_as_durable(&mut self) {
        self.damage.iter_mut().for_each(|damage| damage.kind = DamageKind::Rot);
    }

    /// For a wblock that is known to have been written up to `end_rblock`: what of that was not
    /// even found to be damaged is lost.
    pub fn demand(&mut self, end_rblock: u32) {
        let damaged = self.damage.last().map_or(0, |damage| damage.rblock + damage.rblocks);
        let rblock = self.end_rblock.max(damaged);
        if rblock < end_rblock {
            let (rblocks, cause) = (end_rblock - rblock, DamageCause::Gap);
            self.damage.push(Damage { rblock, rblocks, kind: DamageKind::Rot, cause, key: None });
        }
    }
}

/// Walks the wblock `image`, calling `on_record` with rblock and view of each record that verifies.
///
/// - `image`: the whole wblock, header included; what is missing of it is taken for never written.
///   The header is not looked at: whoever calls has found it valid, and not struck out.
/// - Cost: one pass over the bytes; allocates only for damage.
pub fn scan_wblock<'a>(
    image: &'a [u8],
    place: WblockPlace,
    mut on_record: impl FnMut(u32, RecordView<'a>),
) -> WblockScan {
    let mut walk = Walk::new(image, place);
    while let Some((rblock, view)) = walk.next_record() {
        on_record(rblock, view);
    }
    walk.finish()
}

/// What lies at one rblock.
enum Met<'a> {
    /// No commit word of this life.
    Nothing,
    /// A commit word of this life, `rblocks` long as it says, that leads nowhere.
    Bad { cause: DamageCause, rblocks: u32 },
    /// A padding that verifies.
    Padding { padding: Padding, rblocks: u32 },
    /// A record whose head verifies at least; never [`Verdict::Bad`].
    Record { view: RecordView<'a>, verdict: Verdict },
}

struct Walk<'a> {
    image: &'a [u8],
    place: WblockPlace,
    /// Rblocks in the image.
    rblocks: u32,
    /// Next rblock to look at.
    rblock: u32,
    /// Bytes that may still be digested in vain.
    budget: u64,
    /// Damage whose end is not known yet, with the length that its commit word claims.
    open: Option<(DamageCause, u32, u32)>,
    /// Damage that has something verified behind it.
    damage_enclosed: usize,
    /// End of the last flush end met.
    flush_end: u32,
    /// Everything below was durable once.
    durable_end: u32,
    scan: WblockScan,
}

impl<'a> Walk<'a> {
    fn new(image: &'a [u8], place: WblockPlace) -> Self {
        let rblocks = u32::try_from(image.len() / RBLOCK_BYTES as usize).unwrap_or(u32::MAX);
        Self {
            image,
            place,
            rblocks: rblocks.min(RECORD_RBLOCKS_MAX),
            rblock: WBLOCK_HEADER_RBLOCKS,
            budget: BUDGET_WBLOCKS * image.len() as u64,
            open: None,
            damage_enclosed: 0,
            flush_end: 0,
            durable_end: 0,
            scan: WblockScan { end_rblock: WBLOCK_HEADER_RBLOCKS, ..WblockScan::default() },
        }
    }

    /// The next record that verifies.
    fn next_record(&mut self) -> Option<(u32, RecordView<'a>)> {
        while self.rblock < self.rblocks {
            let at = self.rblock;
            match self.look_at(at) {
                Met::Nothing => self.skip(DamageCause::Gap, 1),
                Met::Bad { cause, rblocks } => self.skip(cause, rblocks),
                Met::Padding { padding, rblocks } => self.pass_padding(padding, rblocks),
                Met::Record { view, verdict: Verdict::Good } => {
                    self.pass(view.rblocks());
                    self.scan.records += 1;
                    self.scan.bytes += u64::from(view.rblocks()) * u64::from(RBLOCK_BYTES);
                    return Some((at, view));
                }
                Met::Record { view, verdict } => self.pass_damaged(at, &view, verdict),
            }
        }
        None
    }

    fn look_at(&mut self, rblock: u32) -> Met<'a> {
        let rest = self.image.get(byte_offset(rblock)..).unwrap_or_default();
        let Some(word) = rest.first_chunk() else { return Met::Nothing };
        let commit = CommitWord::from_raw(u64::from_le_bytes(*word));
        if !commit.is_of(self.place.store_key, self.place.header_sequence) {
            return Met::Nothing;
        }
        let cause =
            if commit.is_padding() { DamageCause::BadPadding } else { DamageCause::BadHead };
        let Some(rblocks) = commit.rblocks().map(u32::from) else {
            return Met::Bad { cause, rblocks: 1 };
        };
        let Some(bytes) = rest.get(..byte_offset(rblocks)) else {
            return Met::Bad { cause, rblocks };
        };
        let met = if commit.is_padding() {
            self.look_at_padding(bytes, rblock)
        } else {
            self.look_at_record(bytes, rblock)
        };
        met.unwrap_or(Met::Bad { cause, rblocks })
    }

    /// The padding at `rblock`, if it verifies and does not claim to end before it began.
    fn look_at_padding(&self, bytes: &'a [u8], rblock: u32) -> Option<Met<'a>> {
        let padding = Padding::decode(bytes, self.place.store_key, self.location(rblock))?;
        let rblocks = rblocks_in(bytes);
        (flush_start(padding) <= rblock).then_some(Met::Padding { padding, rblocks })
    }

    /// The record at `rblock`, if its head verifies.
    fn look_at_record(&mut self, bytes: &'a [u8], rblock: u32) -> Option<Met<'a>> {
        let view = RecordView::new(bytes)?;
        match view.verify(self.place.store_key, self.location(rblock)) {
            Verdict::Bad => {
                self.budget = self.budget.saturating_sub(view.head_checked().len() as u64);
                None
            }
            verdict @ (Verdict::Good | Verdict::BadValue | Verdict::Unsupported) => {
                Some(Met::Record { view, verdict })
            }
        }
    }

    /// Goes one rblock on, inside damage.
    fn skip(&mut self, cause: DamageCause, claimed: u32) {
        if cause != DamageCause::Gap {
            self.close_open();
        }
        if self.open.is_none() {
            self.open = Some((cause, self.rblock, claimed));
        }
        self.rblock += 1;
        if cause != DamageCause::Gap && is_planted(Bug::StopAtBadRecord) {
            self.rblock = self.rblocks;
        }
        if self.budget == 0 && self.rblock < self.rblocks {
            self.close_open();
            self.open = Some((DamageCause::GaveUp, self.rblock, RECORD_RBLOCKS_MAX));
            self.rblock = self.rblocks;
        }
    }

    /// Goes over something whose head verified: damage in front of it ends, and if a flush ended
    /// before it, everything up to there was durable.
    fn pass(&mut self, rblocks: u32) {
        self.close_open();
        self.damage_enclosed = self.scan.damage.len();
        self.durable_end = self.durable_end.max(self.flush_end);
        self.rblock += rblocks;
        self.scan.end_rblock = self.rblock;
    }

    fn pass_padding(&mut self, padding: Padding, rblocks: u32) {
        self.pass(rblocks);
        if padding != Padding::Filler {
            self.durable_end = self.durable_end.max(flush_start(padding));
            self.flush_end = self.rblock;
            self.scan.flushes += 1;
        }
    }

    /// Goes over the record at `rblock`, of which no more than the key can be used.
    fn pass_damaged(&mut self, rblock: u32, view: &RecordView<'_>, verdict: Verdict) {
        let is_unknown = verdict == Verdict::Unsupported;
        let cause = if is_unknown { DamageCause::Unsupported } else { DamageCause::BadValue };
        self.pass(view.rblocks());
        self.push(cause, rblock, view.rblocks(), Some(rblock));
        self.damage_enclosed = self.scan.damage.len();
    }

    /// Ends the open damage, if any, in front of the current rblock.
    fn close_open(&mut self) {
        if let Some((cause, rblock, _)) = self.open.take() {
            self.push(cause, rblock, self.rblock - rblock, None);
        }
    }

    fn push(&mut self, cause: DamageCause, rblock: u32, rblocks: u32, key: Option<u32>) {
        let kind = DamageKind::Torn; // until `finish` has seen what lies behind
        self.scan.damage.push(Damage { rblock, rblocks, kind, cause, key });
    }

    /// Settles what could only be known at the end.
    fn finish(mut self) -> WblockScan {
        let gave_up = matches!(self.open, Some((DamageCause::GaveUp, ..)));
        if let Some((cause, rblock, claimed)) = self.open.take() {
            self.push(cause, rblock, claimed.min(self.rblocks.saturating_sub(rblock)), None);
        }
        // A gap with nothing verified behind it is no gap, but the end of what was written.
        let behind = self.scan.damage.get(self.damage_enclosed);
        if !gave_up && behind.is_some_and(|damage| damage.cause == DamageCause::Gap) {
            self.scan.damage.truncate(self.damage_enclosed);
        }
        for damage in &mut self.scan.damage {
            let counts_anywhere =
                matches!(damage.cause, DamageCause::Unsupported | DamageCause::GaveUp);
            if counts_anywhere || damage.rblock < self.durable_end {
                damage.kind = DamageKind::Rot;
            }
        }
        self.scan
    }

    const fn location(&self, rblock: u32) -> Location {
        Location(self.place.first_location.0.wrapping_add(rblock as u64))
    }
}

/// Where the flush that `padding` ends began. Unit: rblocks from the start of the wblock.
fn flush_start(padding: Padding) -> u32 {
    match padding {
        Padding::Filler => 0,
        Padding::FlushEnd { start_sector, .. } => u32::from(start_sector) * SECTOR_RBLOCKS,
    }
}

const fn byte_offset(rblock: u32) -> usize {
    rblock as usize * RBLOCK_BYTES as usize
}

#[expect(clippy::cast_possible_truncation, reason = "a slice of at most one wblock")]
const fn rblocks_in(bytes: &[u8]) -> u32 {
    (bytes.len() / RBLOCK_BYTES as usize) as u32
}
