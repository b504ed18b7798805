//! The right to fill a range, and the padding of ranges that hold no record.

use super::open_word::OpenWord;
use super::stripe::Stripes;
use crate::format::{CommitWord, Padding, Seed};
use crate::unit::{Location, RBLOCK_BYTES, SECTOR_BYTES, SECTOR_RBLOCKS, Sequence, WblockId};

/// The exclusive right to fill one range of a wblock (S1). Neither `Clone` nor `Copy`.
#[derive(Debug)]
#[must_use = "an unfilled reservation is dead space"]
pub struct Reservation<'r> {
    stripes: &'r Stripes,
    location: Location,
    rblocks: u32,
    word: CommitWord,
}

impl<'r> Reservation<'r> {
    /// The range at `location`, which `stripes` has just handed out to the caller alone.
    #[inline]
    pub(super) fn new(
        stripes: &'r Stripes,
        location: Location,
        rblocks: u32,
        word: CommitWord,
    ) -> Self {
        Self { stripes, location, rblocks, word }
    }

    /// Where the record will be.
    #[inline]
    pub fn location(&self) -> Location {
        self.location
    }

    /// The commit word that [`commit`](Self::commit) will store.
    #[inline]
    pub fn word(&self) -> CommitWord {
        self.word
    }

    /// Copies `bytes` to `offset` bytes from the start. Bytes 0 to 8 are the commit word's.
    #[inline]
    pub fn fill(&mut self, offset: usize, bytes: &[u8]) {
        let room = self.rblocks as usize * RBLOCK_BYTES as usize;
        assert!(offset >= 8 && offset + bytes.len() <= room, "beyond the reservation");
        // SAFETY: (1) the range is this reservation's (S1) and inside it by the check above; (2)
        // nothing lends out uncommitted bytes, so `bytes` lies elsewhere.
        unsafe { self.stripes.region().write(self.location, offset, bytes) };
    }

    /// Zeros the last rblock: what of it the record does not fill is padding.
    #[inline]
    pub fn zero_tail(&mut self) {
        let room = self.rblocks as usize * RBLOCK_BYTES as usize;
        self.fill(room - RBLOCK_BYTES as usize, &[0; RBLOCK_BYTES as usize]);
    }

    /// Shows the record to readers and not yet to the flusher: its word has the length of the final
    /// one, and the sequence 0, which no life has (S7 of `stripe`).
    #[inline]
    pub fn show(&self) {
        let key = self.stripes.identity().store_key;
        let shown = CommitWord::new(key, Sequence(0), self.rblocks, false);
        self.stripes.region().commit(self.location, shown.raw());
    }

    /// Declares the record whole (edge E1). It is live until it is buried.
    #[inline]
    pub fn commit(self) -> Location {
        self.stripes.region().commit(self.location, self.word.raw());
        let location = self.location;
        let _committed = std::mem::ManuallyDrop::new(self);
        location
    }
}

/// Given up, by a panic for instance: padding, so that the flusher does not wait for it.
impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let geometry = self.stripes.geometry();
        let wblock = geometry.wblock(self.location);
        let rblock = geometry.rblock(self.location);
        self.stripes.pad(wblock, rblock, self.rblocks, Padding::Filler);
    }
}

impl Stripes {
    /// Commits a filler over the rest of the wblock: the caller crossed it at `at` (S2).
    #[expect(clippy::cast_possible_truncation, reason = "the position is within the wblock")]
    pub(super) fn pad_rest(&self, at: OpenWord) {
        let rest = self.end() - at.position();
        if rest > 0 {
            self.wblock(at.wblock()).set_tail(rest as u32);
            self.pad(at.wblock(), at.position() as u32, rest as u32, Padding::Filler);
        }
    }

    /// Commits padding over a range that the caller has reserved.
    pub(super) fn pad(&self, wblock: WblockId, rblock: u32, rblocks: u32, padding: Padding) {
        let location = self.geometry().location(wblock, rblock);
        let sequence = self.wblock(wblock).sequence();
        let word = CommitWord::new(self.identity().store_key, sequence, rblocks, true);
        // Zero to the end of the sector, which is written with what comes before it; the rest of
        // a filler is never written.
        let zeros = (SECTOR_RBLOCKS - rblock % SECTOR_RBLOCKS).min(rblocks) * RBLOCK_BYTES - 8;
        let zeros = ZEROS.get(..zeros as usize).unwrap_or(&ZEROS);
        // SAFETY: (1) reserved by the caller and not committed; (2) `ZEROS` is a static.
        unsafe { self.region().write(location, 8, zeros) };
        let head = padding.encode(Seed::new(self.identity().store_key, location, word));
        // SAFETY: (1) as above; (2) `head` is a local.
        unsafe { self.region().write(location, 8, &head) };
        self.region().commit(location, word.raw());
        self.wblock(wblock).count_padding(rblocks);
        self.wblock(wblock).bury(rblocks);
    }
}

static ZEROS: [u8; SECTOR_BYTES as usize] = [0; SECTOR_BYTES as usize];
