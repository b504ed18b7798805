//! One wblock at a time: read, judged, and read again if a live store may be writing it.
//!
//! A read of a wblock that is being written sees a part of it. What does not verify is therefore
//! read again, up to three times, unless the shadow is closed or two readings agree. What then is
//! torn was never durable, whoever left it so. What is rotten in two readings alike is rot: a later
//! flush starts only when the earlier one is durable, so the second reading had it whole if anybody
//! ever could. Readings that never agree are of a wblock in flux: no damage is said of it.
//!
//! The walk takes damage in the last flush of a wblock for torn, since it cannot know better. Here
//! more is known: a store that was closed in order had made all of its last run durable. So what is
//! damaged in a wblock of that run is rot, wherever it lies. And the census of that close says
//! which wblocks there were, of which life, and how far they were written.

use crate::error::Failure;
use crate::files::{RETRIES, pause};
use crate::shadow::Member;
use brindle::format::{
    CommitWord, Counted, Damage, DamageCause, DamageKind, HeaderState, Location, RBLOCK_BYTES,
    RecordView, SECTOR_BYTES, StoreKey, WBLOCK_HEADER_BYTES, WblockHeader, WblockHome, WblockPlace,
    WblockScan, scan_wblock,
};
use std::io;

/// What a wblock turned out to be.
#[derive(Debug)]
pub(crate) enum Wblock<'r> {
    /// Never written.
    Free,
    /// Free again: nothing in it counts any more.
    Struck(WblockHeader),
    /// Of another store or place.
    Foreign(WblockHeader),
    /// Neither copy of the header verifies.
    Damaged,
    /// The file ends before it.
    Missing,
    /// Zeros, and the census says that there was something.
    Lost,
    /// An older image of itself, says the census.
    Stale(WblockHeader),
    /// The device refused.
    Refused(io::Error),
    /// Read and walked.
    Read(Walked<'r>),
}

/// A wblock that was walked.
#[derive(Debug)]
pub(crate) struct Walked<'r> {
    image: &'r [u8],
    rblocks: &'r [u32],
    first_location: Location,
    pub(crate) header: WblockHeader,
    pub(crate) damaged_copy: bool,
    pub(crate) scan: WblockScan,
    /// The damage was not the same in two readings: it is being written. Or the life is a guess.
    pub(crate) in_flux: bool,
}

/// Pauses in a row, over all wblocks, after which nothing had changed: who has waited for so long
/// looks at a dead shadow, and damage all over it must not cost a pause a wblock.
const PAUSES_MAX: u32 = 50;

/// Reads wblocks into one buffer.
#[derive(Debug)]
pub(crate) struct Reader {
    image: Vec<u8>,
    rblocks: Vec<u32>,
    pauses_left: u32,
}

impl Default for Reader {
    fn default() -> Self {
        Self { image: Vec::new(), rblocks: Vec::new(), pauses_left: PAUSES_MAX }
    }
}

/// What one reading met.
enum Once {
    Free,
    Struck(WblockHeader),
    Foreign(WblockHeader),
    Damaged,
    Lost,
    Stale(WblockHeader),
    Walked(Seen),
}

/// What one reading saw of a wblock with a header.
struct Seen {
    header: WblockHeader,
    damaged_copy: bool,
    scan: WblockScan,
    /// How far it was written, if the census knows.
    end_rblock: Option<u32>,
    /// Header before and behind the reading were the same.
    is_steady: bool,
}

impl Seen {
    /// Another reading would see the same: all is whole, two readings agree, or nobody writes.
    fn is_known(&self, before: Option<&WblockScan>, member: &Member) -> bool {
        let is_whole = self.scan.damage.is_empty() && !self.damaged_copy;
        let is_same = is_whole || before == Some(&self.scan);
        self.is_steady && (is_same || member.is_closed_now())
    }
}

impl Reader {
    /// What the header of the wblock at `place` says, with no look at what is behind it.
    pub(crate) fn header(&mut self, member: &Member, place: u32) -> io::Result<HeaderState> {
        self.image.resize(SECTOR_BYTES as usize, 0);
        let read = member.read_at(&mut self.image, member.offset_of(place))?;
        Ok(WblockHeader::decode(self.image.get(..read).unwrap_or_default(), &home(member, place)))
    }

    /// Reads and walks the wblock at `place`.
    pub(crate) fn load(&mut self, member: &Member, place: u32) -> Wblock<'_> {
        if member.offset_of(place) >= member.bytes {
            return Wblock::Missing;
        }
        let mut before: Option<WblockScan> = None;
        let mut attempt = 0;
        loop {
            let is_last = attempt == RETRIES;
            let is_weary = self.pauses_left == 0;
            let is_settled = || is_last || is_weary || member.is_closed_now();
            match self.read_once(member, place) {
                Err(error) => return Wblock::Refused(error),
                Ok(Once::Free) => return Wblock::Free,
                Ok(Once::Struck(header)) => return Wblock::Struck(header),
                Ok(Once::Damaged) if is_settled() => return Wblock::Damaged,
                Ok(Once::Lost) if is_settled() => return Wblock::Lost,
                Ok(Once::Stale(header)) if is_settled() => return Wblock::Stale(header),
                Ok(Once::Foreign(header)) if is_settled() => return Wblock::Foreign(header),
                Ok(Once::Foreign(_) | Once::Damaged | Once::Lost | Once::Stale(_)) => {}
                Ok(Once::Walked(seen)) if is_last || seen.is_known(before.as_ref(), member) => {
                    let in_flux = !seen.is_known(before.as_ref(), member);
                    if attempt > 0 && before.as_ref() != Some(&seen.scan) {
                        self.pauses_left = PAUSES_MAX; // somebody writes
                    }
                    return Wblock::Read(self.walk(member, place, seen, in_flux));
                }
                Ok(Once::Walked(seen)) => before = Some(seen.scan),
            }
            attempt += 1;
            if let Some(left) = self.pauses_left.checked_sub(1) {
                self.pauses_left = left;
                pause();
            }
        }
    }

    /// Reads the wblock at `place` once, as of the life `header`: for one that is struck out, or
    /// whose header is lost.
    pub(crate) fn load_life(
        &mut self,
        member: &Member,
        place: u32,
        header: WblockHeader,
    ) -> io::Result<Walked<'_>> {
        let scan = self.scan(member, place, &header)?;
        let (damaged_copy, end_rblock, is_steady) = (false, None, true);
        let seen = Seen { header, damaged_copy, scan, end_rblock, is_steady };
        Ok(self.walk(member, place, seen, true))
    }

    /// The life that the first commit word of the wblock at `place` names, if something of that
    /// verifies: for one whose header is lost.
    pub(crate) fn guess_life(&mut self, member: &Member, place: u32) -> Option<WblockHeader> {
        let home = home(member, place);
        let store_key = StoreKey::of(&home.store_id);
        let mut word = [0; 8];
        let offset = member.offset_of(place) + u64::from(WBLOCK_HEADER_BYTES);
        member.read_at(&mut word, offset).ok()?;
        let sequence = CommitWord::from_raw(u64::from_le_bytes(word)).sequence(store_key);
        let header = WblockHeader { home, sequence, opened_at: 0 };
        let scan = self.scan(member, place, &header).ok()?;
        (scan.records + scan.flushes > 0).then_some(header)
    }

    /// Reads all of the wblock at `place`, and walks it as of the life `header`.
    fn scan(
        &mut self,
        member: &Member,
        place: u32,
        header: &WblockHeader,
    ) -> io::Result<WblockScan> {
        self.image.clear(); // what is missing at the end of a short file reads as never written
        self.image.resize(member.superblock.geometry.wblock_bytes as usize, 0);
        member.read_at(&mut self.image, member.offset_of(place))?;
        self.rblocks.clear();
        let rblocks = &mut self.rblocks;
        Ok(scan_wblock(&self.image, scanned_place(member, header), |rblock, _| {
            rblocks.push(rblock);
        }))
    }

    /// One reading.
    fn read_once(&mut self, member: &Member, place: u32) -> io::Result<Once> {
        let state = self.header(member, place)?;
        let counted = counted(member, place, &state);
        let (header, damaged_copy) = match state {
            HeaderState::Free if counted == Counted::Missing => return Ok(Once::Lost),
            HeaderState::Valid { header, .. } | HeaderState::Struck(header)
                if counted == Counted::Stale =>
            {
                return Ok(Once::Stale(header));
            }
            HeaderState::Valid { header, damaged_copy } => (header, damaged_copy),
            HeaderState::Free => return Ok(Once::Free),
            HeaderState::Struck(header) => return Ok(Once::Struck(header)),
            HeaderState::Foreign(header) => return Ok(Once::Foreign(header)),
            HeaderState::Damaged => return Ok(Once::Damaged),
        };
        let scan = self.scan(member, place, &header)?;
        let mut sector = [0; SECTOR_BYTES as usize];
        let read = member.read_at(&mut sector, member.offset_of(place))?;
        let behind =
            WblockHeader::decode(sector.get(..read).unwrap_or_default(), &home(member, place));
        let end_rblock = match counted {
            Counted::Fine { end_rblock } => end_rblock,
            Counted::Missing | Counted::Stale => None,
        };
        let is_steady = behind == state;
        Ok(Once::Walked(Seen { header, damaged_copy, scan, end_rblock, is_steady }))
    }

    fn walk(&self, member: &Member, place: u32, seen: Seen, in_flux: bool) -> Walked<'_> {
        let Seen { header, damaged_copy, mut scan, end_rblock, .. } = seen;
        if !in_flux && member.superblock.is_whole(header.sequence) {
            scan.judge_as_durable();
        }
        if let Some(end_rblock) = end_rblock.filter(|_| !in_flux) {
            scan.demand(end_rblock.min(member.superblock.geometry.wblock_rblocks()));
        }
        let first_location = member.superblock.geometry.location(member.wblock_at(place), 0);
        let (image, rblocks) = (&*self.image, &*self.rblocks);
        Walked { image, rblocks, first_location, header, damaged_copy, scan, in_flux }
    }
}

/// What the census says of the header `state`; nothing, where there is none.
pub(crate) fn counted(member: &Member, place: u32, state: &HeaderState) -> Counted {
    let unknown = Counted::Fine { end_rblock: None };
    member.census.as_ref().map_or(unknown, |census| census.judge(place, state))
}

impl<'r> Walked<'r> {
    /// All its bytes.
    pub(crate) const fn image(&self) -> &'r [u8] {
        self.image
    }

    /// Where its first rblock lies.
    pub(crate) const fn first_location(&self) -> Location {
        self.first_location
    }

    /// The records that verify, and where they are.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Location, RecordView<'r>)> {
        let (image, first) = (self.image, self.first_location);
        self.rblocks
            .iter()
            .filter_map(move |rblock| Some((at(first, *rblock), view(image, *rblock)?)))
    }

    /// The records whose keys are lost: no older copy may come back as if it were current.
    pub(crate) fn lost(&self) -> impl Iterator<Item = (Location, RecordView<'r>)> {
        let (image, first) = (self.image, self.first_location);
        let is_torn_somewhere = self.in_flux;
        self.scan.damage.iter().filter_map(move |damage| {
            let rblock = damage.key.filter(|_| counts(damage) && !is_torn_somewhere)?;
            Some((at(first, rblock), view(image, rblock)?))
        })
    }

    /// The record that `damage` names, if its key is known.
    pub(crate) fn damaged_record(&self, damage: &Damage) -> Option<RecordView<'r>> {
        view(self.image, damage.key?)
    }
}

/// Was durable once: what the engine counts as lost, or damaged without a loss.
pub(crate) fn counts(damage: &Damage) -> bool {
    damage.kind == DamageKind::Rot || damage.cause == DamageCause::Unsupported
}

/// The record at `location`, read by itself. `bytes` is where it is read to.
pub(crate) fn read_record<'b>(
    member: &Member,
    offset: u64,
    bytes: &'b mut Vec<u8>,
) -> Result<Option<RecordView<'b>>, Failure> {
    let failed = |source| Failure::File { op: "read", path: member.path.clone(), source };
    let mut word = [0; 8];
    member.read_at(&mut word, offset).map_err(failed)?;
    let Some(rblocks) = CommitWord::from_raw(u64::from_le_bytes(word)).rblocks() else {
        return Ok(None);
    };
    bytes.clear();
    bytes.resize(rblocks.get() as usize * RBLOCK_BYTES as usize, 0);
    member.read_at(bytes, offset).map_err(failed)?;
    Ok(RecordView::new(bytes))
}

pub(crate) fn at(first: Location, rblock: u32) -> Location {
    Location(first.0 + u64::from(rblock))
}

fn view(image: &[u8], rblock: u32) -> Option<RecordView<'_>> {
    let rest = image.get(rblock as usize * RBLOCK_BYTES as usize..)?;
    let word = CommitWord::from_raw(u64::from_le_bytes(*rest.first_chunk()?));
    RecordView::new(rest.get(..word.rblocks()?.get() as usize * RBLOCK_BYTES as usize)?)
}

pub(crate) fn home(member: &Member, place: u32) -> WblockHome {
    WblockHome {
        store_id: member.superblock.store_id,
        stripe: member.superblock.stripe,
        wblock: member.wblock_at(place),
        wblock_bytes: member.superblock.geometry.wblock_bytes,
    }
}

fn scanned_place(member: &Member, header: &WblockHeader) -> WblockPlace {
    WblockPlace {
        store_key: StoreKey::of(&header.home.store_id),
        first_location: member.superblock.geometry.location(header.home.wblock, 0),
        header_sequence: header.sequence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::PathArgs;
    use crate::shadow::Shadow;
    use brindle::format::{Geometry, Sequence, StoreId, Superblock};
    use std::fs;

    /// 200 wblocks of a store that was not closed, none of which has a header that verifies.
    #[test]
    fn damage_all_over_costs_few_pauses() {
        let (wblock_bytes, wblocks_per_stripe) = (64 << 10, 200);
        let superblock = Superblock {
            generation: 5,
            store_id: StoreId([7; 16]),
            stripe: 0,
            geometry: Geometry { wblock_bytes, stripes: 1, wblocks_per_stripe },
            hash_seed: 1,
            clock_floor: 1,
            sequence_limit: Sequence(1 << 20),
            created_at: 1,
            whole_from: Sequence(1),
            attached_at: 0,
            clean: false,
            incomplete: false,
        };
        let mut bytes = vec![1; (64 << 10) + 200 * (64 << 10)];
        bytes[..4096].copy_from_slice(&superblock.encode()[..]);
        bytes[32 << 10..36 << 10].copy_from_slice(&superblock.encode()[..]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stripe-000.shadow");
        fs::write(&path, bytes).unwrap();
        let shadow = Shadow::open(&PathArgs { path, members: Vec::new() });
        let shadow = shadow.unwrap_or_else(|failure| panic!("{failure}"));
        let member = &shadow.members[0];
        let mut reader = Reader::default();
        let mut pauses = 0;
        for place in member.places() {
            let before = reader.pauses_left;
            assert!(matches!(reader.load(member, place), Wblock::Damaged));
            pauses += before - reader.pauses_left;
        }
        assert_eq!(pauses, PAUSES_MAX, "not three a wblock");
    }
}
