//! A wblock as memory has it, made ready for a shadow that it was not on before.
//!
//! What a cold start could not use it has changed in memory, without checksums, for nobody there
//! looks at them: gaps became paddings, and a record whose value was lost became a tombstone. Here
//! they get the checksums of what they are now, so that the next cold start finds the same.
#![forbid(unsafe_code)]

use super::commit::CommitWord;
use super::key::Seed;
use super::padding::{PADDING_HEAD_BYTES, Padding};
use super::record::WORD_BYTES;
use super::scan::WblockPlace;
use super::view::{RecordView, Verdict};
use crate::unit::{Location, RBLOCK_BYTES, WBLOCK_HEADER_BYTES};
use std::num::NonZeroU32;
use std::ops::Range;

/// Where the two checks of a record lie.
const HEAD_CHECK: Range<usize> = 16..20;
const VALUE_CHECK: Range<usize> = 20..24;

/// Gives every padding of the wblock `image`, and every tombstone, the checksums that it lacks.
/// How many that were. Values are not looked at. Ends where the commit words of this life do.
pub fn mend(image: &mut [u8], place: WblockPlace) -> u32 {
    let mut mended = 0;
    let mut at = WBLOCK_HEADER_BYTES as usize;
    while let Some(word) = image.get(at..).and_then(|rest| rest.first_chunk()) {
        let word = CommitWord::from_raw(u64::from_le_bytes(*word));
        if !word.is_of(place.store_key, place.header_sequence) {
            break;
        }
        let rblocks = word.rblocks().map_or(0, NonZeroU32::get) as usize;
        let end = at + rblocks * RBLOCK_BYTES as usize;
        let location = Location(place.first_location.0 + (at / RBLOCK_BYTES as usize) as u64);
        let Some(bytes) = image.get_mut(at..end).filter(|bytes| !bytes.is_empty()) else { break };
        let is_changed = if word.is_padding() {
            mend_padding(bytes, place, (location, word))
        } else {
            mend_tombstone(bytes, place, (location, word)).is_some()
        };
        mended += u32::from(is_changed);
        at = end;
    }
    mended
}

/// Makes a filler of a padding that does not verify.
fn mend_padding(bytes: &mut [u8], place: WblockPlace, at: (Location, CommitWord)) -> bool {
    let is_whole = Padding::decode(bytes, place.store_key, at.0).is_some();
    let head = Padding::Filler.encode(Seed::new(place.store_key, at.0, at.1));
    if let Some(target) = bytes.get_mut(WORD_BYTES..PADDING_HEAD_BYTES).filter(|_| !is_whole) {
        target.copy_from_slice(&head);
    }
    !is_whole
}

/// Gives a tombstone that does not verify its checks; `None`: it is none, or it verifies.
fn mend_tombstone(bytes: &mut [u8], place: WblockPlace, at: (Location, CommitWord)) -> Option<()> {
    let view = RecordView::new(bytes).filter(RecordView::is_tombstone)?;
    let verdict = view.verify(place.store_key, at.0);
    if matches!(verdict, Verdict::Good | Verdict::Unsupported) {
        return None;
    }
    let seed = Seed::new(place.store_key, at.0, at.1);
    let head_seed = seed.with(view.version().into());
    let (value_check, pad) = (seed.check(view.value()), view.flags().pad());
    bytes.get_mut(VALUE_CHECK)?.copy_from_slice(&value_check.to_le_bytes());
    let body = bytes.len() - pad;
    bytes.get_mut(body..)?.fill(0);
    let head_check = head_seed.check(RecordView::new(bytes)?.head_checked());
    bytes.get_mut(HEAD_CHECK)?.copy_from_slice(&head_check.to_le_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{
        Checks, Flags, RecordHead, Shape, StoreId, StoreKey, encode_head, scan_wblock,
    };
    use crate::unit::{Sequence, Version, WBLOCK_HEADER_RBLOCKS};

    /// A record of `flags`, one padding without checks, and another record.
    fn image(place: WblockPlace, flags: Flags) -> Vec<u8> {
        let mut image = vec![0; WBLOCK_HEADER_BYTES as usize];
        let mut put = |flags, padding: bool| {
            let rblock = (image.len() / RBLOCK_BYTES as usize) as u64;
            let head =
                RecordHead { version: Version::from(7), expires_at: None, over: None, flags };
            let shape = Shape::of(3, 30, &head);
            let (key, sequence) = (place.store_key, place.header_sequence);
            let word = CommitWord::new(key, sequence, shape.rblocks, padding);
            let seed = Seed::new(key, Location(place.first_location.0 + rblock), word);
            let value = [b'v'; 30];
            let checks = Checks::compute(seed, &head, &shape, b"key", &value);
            let start = image.len();
            image.extend(word.raw().to_le_bytes());
            image.extend(encode_head(&shape, &head, checks).get(..20).expect("20 bytes"));
            image.extend(b"key");
            image.extend(value);
            image.resize(start + shape.total_bytes(), 0);
        };
        put(flags, false);
        put(Flags::NONE, true);
        put(Flags::NONE, false);
        image.resize(4096, 0);
        image
    }

    #[test]
    fn what_a_cold_start_changed_verifies_again() {
        let store_key = StoreKey::of(&StoreId([7; 16]));
        let place =
            WblockPlace { store_key, first_location: Location(1024), header_sequence: Sequence(9) };
        let mut image = image(place, Flags::NONE);
        // The value has rotted, and the record was made a tombstone.
        image[WBLOCK_HEADER_BYTES as usize + 32] ^= 0x40;
        image[WBLOCK_HEADER_BYTES as usize + 26] |= 0x10;
        assert_eq!(scan_wblock(&image, place, |_, _| ()).records, 1, "the last one alone");
        assert_eq!(mend(&mut image, place), 2);
        let mut found = Vec::new();
        let scan =
            scan_wblock(&image, place, |rblock, view| found.push((rblock, view.is_tombstone())));
        assert_eq!(scan.damage, []);
        let behind = found.pop().expect("two records");
        assert_eq!(found, [(WBLOCK_HEADER_RBLOCKS, true)]);
        assert!(!behind.1);
        let before = image.clone();
        assert_eq!(mend(&mut image, place), 0);
        assert!(image == before, "what is whole stays as it is");
    }
}
