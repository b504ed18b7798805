//! The decoders of `brindle::format`.

use super::is_unprintable;
use super::script::Script;
use brindle::format::*;

const STORE_ID: StoreId = StoreId(*b"a hostile store.");

/// Two superblock copies: raw, or written from fields of any value, which then have the right
/// checksum.
pub fn superblock(bytes: &[u8]) {
    let mut script = Script(bytes);
    let (a, b) = if script.u8().is_multiple_of(2) {
        let (a, b) = script.0.split_at(script.0.len().min(SUPERBLOCK_BYTES));
        (a.to_vec(), b.to_vec())
    } else {
        let (a, b) = (copy(&mut script), copy(&mut script));
        let mut copies = [a, b].concat();
        script.patch(&mut copies);
        let b = copies.split_off(SUPERBLOCK_BYTES);
        (copies, b)
    };
    match choose(&a, &b) {
        Found::Superblock { superblock, .. } => sound(&superblock),
        Found::Foreign { first_bytes } => {
            assert!(!first_bytes.chars().any(is_unprintable), "{first_bytes:?}");
        }
        Found::AllZero | Found::Damaged { .. } | Found::NewerFormat(_) => {}
    }
}

fn copy(script: &mut Script<'_>) -> Vec<u8> {
    // Small numbers and powers of two are what a store has.
    let mut number = || match script.u8() % 4 {
        0 => u32::from(script.u8() % 4),
        1 => 1 << (script.u8() % 32),
        2 => 64 << 10,
        _ => script.u32(),
    };
    let (stripe, stripes) = (number(), number());
    let geometry = Geometry { wblock_bytes: number(), stripes, wblocks_per_stripe: number() };
    let generation = u64::from(number());
    let superblock = Superblock {
        generation,
        store_id: STORE_ID,
        stripe,
        geometry,
        hash_seed: script.u64(),
        clock_floor: script.u64(),
        sequence_limit: Sequence(script.u64() >> (script.u8() % 64)),
        created_at: script.u64(),
        whole_from: Sequence(script.u64() >> (script.u8() % 64)),
        attached_at: 0,
        clean: script.u8().is_multiple_of(2),
        incomplete: false,
    };
    superblock.encode().to_vec()
}

/// S1: nothing of the engine's arithmetic overflows on it; and it reads back as it is.
fn sound(superblock: &Superblock) {
    assert_eq!(Superblock::decode_copy(&superblock.encode()[..]), Ok(*superblock));
    let geometry = superblock.geometry;
    let last = WblockId(geometry.wblocks() - 1);
    let end = geometry.location(last, geometry.wblock_rblocks() - 1);
    assert_eq!(geometry.wblock(end), last);
    assert_eq!(geometry.home_stripe(last), geometry.stripes - 1);
    assert!(geometry.region_bytes() >= u64::from(geometry.wblock_bytes));
    assert!(superblock.stripe < geometry.stripes);
    let _ = superblock.is_whole(superblock.sequence_limit);
}

/// A wblock: raw, or written from a script with the right checksums, and then changed.
pub fn wblock(bytes: &[u8]) {
    let mut script = Script(bytes);
    let mut image = vec![0; WBLOCK_BYTES_MIN as usize];
    if script.u8().is_multiple_of(2) {
        let raw = script.take(image.len());
        image[..raw.len()].copy_from_slice(raw);
    } else {
        write(&mut script, &mut image);
        script.patch(&mut image);
    }
    let home = home();
    let place = WblockPlace {
        store_key: StoreKey::of(&STORE_ID),
        first_location: Location(0),
        header_sequence: Sequence(5),
    };
    let _ = WblockHeader::decode(&image, &home);
    judge(&image, place);
    // As the life, and of the store, that a raw image says it is of.
    if let HeaderState::Valid { header, .. } | HeaderState::Foreign(header) =
        WblockHeader::decode(&image, &home)
    {
        let store_key = StoreKey::of(&header.home.store_id);
        let header_sequence = header.sequence;
        judge(&image, WblockPlace { store_key, header_sequence, ..place });
    }
}

fn home() -> WblockHome {
    WblockHome {
        store_id: STORE_ID,
        stripe: 0,
        wblock: WblockId(0),
        wblock_bytes: WBLOCK_BYTES_MIN,
    }
}

/// Records, paddings, and what only looks like one.
fn write(script: &mut Script<'_>, image: &mut [u8]) {
    let key = StoreKey::of(&STORE_ID);
    let header = WblockHeader { home: home(), sequence: Sequence(5), opened_at: 7 };
    image[..128].copy_from_slice(&header.encode());
    let mut rblock = WBLOCK_HEADER_RBLOCKS;
    let end = WBLOCK_BYTES_MIN / RBLOCK_BYTES;
    let steps = script.u8();
    for _ in 0..steps {
        let location = Location(u64::from(rblock));
        let commit = |rblocks, padding| CommitWord::new(key, Sequence(5), rblocks, padding);
        let (rblocks, written) = match script.u8() % 5 {
            0 | 1 => {
                let head = RecordHead {
                    version: Version::from(script.u64()),
                    expires_at: (script.u8().is_multiple_of(3)).then(|| script.u64()),
                    over: (script.u8().is_multiple_of(5)).then(|| Version::from(script.u64())),
                    // Any flag, known or not; the shape gives the pad.
                    flags: Flags::from_raw(script.u16() & !15),
                };
                let (name, value) = (script.bytes(60), script.bytes(900));
                let name = if name.is_empty() { b"k" } else { name };
                let shape = Shape::of(name.len(), value.len(), &head);
                let commit = commit(shape.rblocks, false);
                let seed = Seed::new(key, location, commit);
                let checks = Checks::compute(seed, &head, &shape, name, value);
                let bytes = encode_head(&shape, &head, checks);
                let head = &bytes[..shape.header_bytes - 8];
                let word = commit.raw().to_le_bytes();
                (shape.rblocks, [&word, head, name, value, &[0; 15][..shape.pad]].concat())
            }
            2 | 3 => {
                let rblocks = 1 + script.below(600);
                let commit = commit(rblocks, true);
                let number = script.u16() % FLUSHES_MAX;
                let padding = if script.u8().is_multiple_of(4) {
                    Padding::Filler
                } else {
                    Padding::FlushEnd { number, start_sector: script.u16() }
                };
                let head = padding.encode(Seed::new(key, location, commit));
                (rblocks, [commit.raw().to_le_bytes(), head].concat())
            }
            // A word of this life, of any length, before bytes that do not verify.
            _ => {
                let word =
                    commit(1 + script.below(RECORD_RBLOCKS_MAX), script.u8().is_multiple_of(2));
                (1 + script.below(8), [&word.raw().to_le_bytes(), script.bytes(100)].concat())
            }
        };
        if rblock + rblocks > end {
            break;
        }
        let target = image[rblock as usize * RBLOCK_BYTES as usize..].iter_mut();
        target.zip(written).for_each(|(target, byte)| *target = byte);
        rblock += rblocks;
    }
}

/// What holds for the scan of any image.
fn judge(image: &[u8], place: WblockPlace) {
    let rblocks = u32::try_from(image.len()).expect("small") / RBLOCK_BYTES;
    let (mut behind, mut records, mut bytes) = (WBLOCK_HEADER_RBLOCKS, 0, 0);
    let mut scan = scan_wblock(image, place, |rblock, view| {
        assert!(rblock >= behind, "in ascending order, without overlap");
        let location = Location(place.first_location.0 + u64::from(rblock));
        assert_eq!(view.verify(place.store_key, location), Verdict::Good, "only what verifies");
        assert!(!view.key().is_empty() && view.rblocks() >= 2);
        behind = rblock + view.rblocks();
        records += 1;
        bytes += u64::from(view.rblocks()) * u64::from(RBLOCK_BYTES);
    });
    assert_eq!((scan.records, scan.bytes), (records, bytes));
    assert!(behind <= rblocks && scan.end_rblock <= rblocks && scan.end_rblock >= behind);
    let mut behind = WBLOCK_HEADER_RBLOCKS;
    for damage in &scan.damage {
        assert!(damage.rblock >= behind && damage.rblocks >= 1, "in order: {damage:?}");
        behind = damage.rblock + damage.rblocks;
        assert!(behind <= rblocks, "within the wblock: {damage:?}");
        assert!(damage.key.is_none_or(|key| key < rblocks));
    }
    scan.judge_as_durable();
}

/// The bytes of one record, and of one padding.
pub fn record(bytes: &[u8]) {
    let key = StoreKey::of(&STORE_ID);
    let _ = Padding::decode(bytes, key, Location(3));
    let rounded = bytes.len() / RBLOCK_BYTES as usize * RBLOCK_BYTES as usize;
    let mut fitted = bytes[..rounded].to_vec();
    look(bytes);
    // The same bytes under a word that fits them, which by chance nothing does.
    if let Ok(rblocks @ 1..=RECORD_RBLOCKS_MAX) = u32::try_from(rounded / RBLOCK_BYTES as usize) {
        let word = CommitWord::new(key, Sequence(5), rblocks, false);
        fitted[..8].copy_from_slice(&word.raw().to_le_bytes());
        look(&fitted);
    }
}

fn look(bytes: &[u8]) {
    let Some(view) = RecordView::new(bytes) else { return };
    let parts = view.key().len() + view.value().len();
    assert!(!view.key().is_empty() && parts + RECORD_HEADER_BYTES <= bytes.len());
    assert_eq!(view.rblocks() as usize * RBLOCK_BYTES as usize, bytes.len());
    let (rank, again) = (view.rank(), view.rank());
    assert!(rank.cmp(&again).is_eq());
    let _ = (view.expires_at(), view.over(), view.is_heir(), view.is_tombstone(), view.version());
    let _ = view.verify(StoreKey::of(&STORE_ID), Location(3));
}
