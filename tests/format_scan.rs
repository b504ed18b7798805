//! Claims about whole wblocks and shadows: what a scan reports after tears, rot and malice, and
//! that the bytes of a shadow are the ones of `tests/golden/`.
//!
//! The golden shadow is written anew with `BRINDLE_BLESS=1 cargo test --test format_scan`. Do that
//! only together with a new format version, or shadows in the field can no longer be read.
#![expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "helpers of tests")]

use std::ops::Range;
use std::path::Path;

use brindle::format::*;
use proptest::collection::vec;
use proptest::prelude::*;

const WBLOCK_BYTES: usize = WBLOCK_BYTES_MIN as usize;
const STORE_ID: StoreId = StoreId(*b"golden store id!");
const GEOMETRY: Geometry =
    Geometry { wblock_bytes: WBLOCK_BYTES_MIN, stripes: 2, wblocks_per_stripe: 2 };

/// Writes one wblock as the engine does: records, then a padding at the end of each flush.
struct Builder {
    image: Vec<u8>,
    place: WblockPlace,
    rblock: u32,
    flush_start: u32,
    flushes: u16,
    /// Bytes that count: of each record and the head of each padding.
    written: Vec<Range<usize>>,
}

impl Builder {
    /// A wblock whose memory still holds `stale` bytes.
    fn new(wblock: u32, sequence: u64, stale: &[u8]) -> Self {
        let mut image: Vec<u8> = stale.iter().copied().cycle().take(WBLOCK_BYTES).collect();
        let header = WblockHeader {
            home: home(wblock),
            sequence: Sequence(sequence),
            opened_at: 1_700_000_000_000_000,
        };
        image[..128].copy_from_slice(&header.encode());
        let place = WblockPlace {
            store_key: StoreKey::of(&STORE_ID),
            first_location: GEOMETRY.location(WblockId(wblock), 0),
            header_sequence: Sequence(sequence),
        };
        let rblock = WBLOCK_HEADER_RBLOCKS;
        Self { image, place, rblock, flush_start: 0, flushes: 0, written: Vec::new() }
    }

    fn seed(&self, rblocks: u32, padding: bool) -> (CommitWord, Seed) {
        let WblockPlace { store_key, first_location, header_sequence } = self.place;
        let commit = CommitWord::new(store_key, header_sequence, rblocks, padding);
        let location = Location(first_location.0 + u64::from(self.rblock));
        (commit, Seed::new(store_key, location, commit))
    }

    fn write(&mut self, commit: CommitWord, rest: &[u8], rblocks: u32) {
        let from = self.rblock as usize * 16;
        self.image[from..from + 8].copy_from_slice(&commit.raw().to_le_bytes());
        self.image[from + 8..from + 8 + rest.len()].copy_from_slice(rest);
        self.written.push(from..from + 8 + rest.len());
        self.rblock += rblocks;
    }

    fn put(&mut self, head: &RecordHead, key: &[u8], value: &[u8]) {
        let shape =
            Shape::new(key.len(), value.len(), head.expires_at.is_some(), head.over.is_some());
        let (commit, seed) = self.seed(shape.rblocks, false);
        let checks = Checks::compute(seed, head, &shape, key, value);
        let bytes = encode_head(&shape, head, checks);
        let len = shape.header_bytes - 8;
        let rest = [&bytes[..len], key, value, &[0; 15][..shape.pad]].concat();
        self.write(commit, &rest, shape.rblocks);
    }

    fn put_plain(&mut self, version: u64, key: &[u8], value: &[u8]) {
        self.put(&head(version, None, Flags::NONE), key, value);
    }

    /// Fills up to `end_rblock`, which may be the current one: then there is nothing to fill.
    fn pad(&mut self, padding: Padding, end_rblock: u32) {
        let rblocks = end_rblock - self.rblock;
        let (commit, seed) = self.seed(rblocks, true);
        self.write(commit, &padding.encode(seed), rblocks);
    }

    /// Ends a flush at the next sector.
    fn flush(&mut self) {
        let end = (self.rblock + 1).next_multiple_of(SECTOR_RBLOCKS);
        let start_sector = (self.flush_start / SECTOR_RBLOCKS) as u16;
        self.pad(Padding::FlushEnd { number: self.flushes, start_sector }, end);
        self.flush_start = end;
        self.flushes += 1;
    }

    fn scan(&self) -> (WblockScan, Vec<u64>) {
        scan(&self.image, self.place)
    }
}

fn home(wblock: u32) -> WblockHome {
    let geometry = GEOMETRY;
    WblockHome {
        store_id: STORE_ID,
        stripe: geometry.home_stripe(WblockId(wblock)),
        wblock: WblockId(wblock),
        wblock_bytes: geometry.wblock_bytes,
    }
}

fn head(version: u64, expires_at: Option<u64>, flags: Flags) -> RecordHead {
    RecordHead { version: Version::from(version), expires_at, over: None, flags }
}

/// The scan of `image` and the versions that it reported; asserts what holds for any image.
fn scan(image: &[u8], place: WblockPlace) -> (WblockScan, Vec<u64>) {
    let mut versions = Vec::new();
    let mut behind = WBLOCK_HEADER_RBLOCKS;
    let scan = scan_wblock(image, place, |rblock, view| {
        assert!(rblock >= behind, "in ascending order, without overlap");
        behind = rblock + view.rblocks();
        let location = Location(place.first_location.0 + u64::from(rblock));
        assert_eq!(view.verify(place.store_key, location), Verdict::Good);
        versions.push(view.version().into());
    });
    assert!(scan.end_rblock >= behind && scan.records as usize == versions.len());
    let mut behind = WBLOCK_HEADER_RBLOCKS;
    for damage in &scan.damage {
        assert!(damage.rblock >= behind && damage.rblocks > 0, "{damage:?}");
        behind = damage.rblock + damage.rblocks;
        assert!(behind as usize * 16 <= image.len(), "{damage:?} ends within the image");
    }
    (scan, versions)
}

fn kinds(scan: &WblockScan) -> Vec<(DamageKind, DamageCause)> {
    scan.damage.iter().map(|damage| (damage.kind, damage.cause)).collect()
}

/// Three flushes of two records each; versions 1 to 6.
fn three_flushes() -> Builder {
    let mut wblock = Builder::new(1, 9, b"stale");
    for flush in 0..3 {
        for record in 1..=2 {
            wblock.put_plain(flush * 2 + record, b"key", &[0xaa; 100]);
        }
        wblock.flush();
    }
    wblock
}

#[test]
fn a_whole_wblock_has_no_damage() {
    let wblock = three_flushes();
    let (scan, versions) = wblock.scan();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
    assert_eq!((scan.records, scan.flushes, scan.damage.len()), (6, 3, 0));
    assert_eq!((scan.bytes, scan.end_rblock), (6 * 144, 3 * SECTOR_RBLOCKS));
}

#[test]
fn damage_is_rot_only_with_a_later_flush_behind_it() {
    use DamageCause::{BadHead, BadPadding, BadValue, Gap};
    use DamageKind::{Rot, Torn};
    // Record or padding, byte in it; what is found in the first, second and last flush.
    for (piece, byte, cause) in
        [(0, 7, Gap), (0, 9, BadHead), (1, 30, BadHead), (1, 40, BadValue), (2, 8, BadPadding)]
    {
        for (flush, kind) in [(0, Rot), (1, Rot), (2, Torn)] {
            let mut wblock = three_flushes();
            let victim = wblock.written[flush * 3 + piece].clone();
            wblock.image[victim.start + byte] ^= 0x10;
            let (scan, versions) = wblock.scan();
            let lost = (piece < 2).then_some((flush * 2 + piece + 1) as u64);
            let expected: Vec<u64> = (1..=6).filter(|version| Some(*version) != lost).collect();
            assert_eq!(versions, expected);
            assert_eq!(kinds(&scan), [(kind, cause)], "piece {piece} of flush {flush}");
            let damage = scan.damage[0];
            assert_eq!(damage.rblock as usize * 16, victim.start);
            assert_eq!(damage.key, (cause == BadValue).then_some(damage.rblock));
        }
    }
}

#[test]
fn a_later_flush_without_its_end_still_proves_rot() {
    let mut wblock = three_flushes();
    let end = wblock.written[8].start;
    wblock.image[end..].fill(0); // the last flush's padding never arrived
    let victim = wblock.written[3].start;
    wblock.image[victim + 60] ^= 1; // in the second flush
    let (scan, versions) = wblock.scan();
    assert_eq!(versions, [1, 2, 4, 5, 6]);
    assert_eq!(kinds(&scan), [(DamageKind::Rot, DamageCause::BadValue)]);
    // And without the last flush altogether, it is the last write itself that is damaged.
    wblock.image[2 * SECTOR_BYTES as usize..].fill(0);
    assert_eq!(kinds(&wblock.scan().0), [(DamageKind::Torn, DamageCause::BadValue)]);
}

#[test]
fn sectors_of_the_last_flush_may_arrive_in_any_order() {
    let mut wblock = Builder::new(0, 5, b"stale");
    wblock.put_plain(1, b"durable", b"value");
    wblock.flush();
    for version in 2..=4 {
        wblock.put_plain(version, b"key", &[1; 4096 - 31]); // one sector each
    }
    wblock.flush();
    for lost in 1..=4 {
        let mut image = wblock.image.clone();
        image[lost * 4096..][..4096].fill(0x55);
        let (scan, versions) = scan(&image, wblock.place);
        assert_eq!(versions.first(), Some(&1));
        assert!(scan.damage.iter().all(|damage| damage.kind == DamageKind::Torn), "{scan:?}");
    }
}

#[test]
fn what_ends_the_data_is_no_damage() {
    let mut wblock = Builder::new(0, 5, &[0]);
    assert_eq!(wblock.scan().0, WblockScan { end_rblock: 8, ..WblockScan::default() });
    wblock.put_plain(1, b"key", b"value");
    let end = wblock.rblock;
    wblock.place.header_sequence = Sequence(4);
    wblock.put_plain(2, b"key", b"of a previous life");
    wblock.place.header_sequence = Sequence(5);
    let (scan, versions) = wblock.scan();
    assert_eq!((versions, scan.end_rblock, scan.damage.len()), (vec![1], end, 0));
}

#[test]
fn a_whole_record_of_a_later_version_counts_as_damage_with_its_key() {
    for flag in [Flags::COMPRESSED, Flags::ENCRYPTED, Flags::FEED, Flags::from_raw(1 << 15)] {
        let mut wblock = Builder::new(0, 5, &[0]);
        wblock.put(&head(1, None, flag), b"key", b"value");
        wblock.put(&head(2, None, Flags::MOVED | Flags::NEVER_EVICT), b"key", b"value");
        let (scan, versions) = wblock.scan();
        assert_eq!(versions, [2]);
        assert_eq!(kinds(&scan), [(DamageKind::Rot, DamageCause::Unsupported)]);
        assert_eq!(scan.damage[0].key, Some(8));
    }
}

#[test]
fn a_flush_end_cannot_start_behind_itself() {
    let mut wblock = Builder::new(0, 5, &[0]);
    wblock.put_plain(1, b"key", b"value");
    wblock.pad(Padding::FlushEnd { number: 0, start_sector: 1 }, SECTOR_RBLOCKS);
    wblock.put_plain(2, b"key", b"value");
    let (scan, versions) = wblock.scan();
    assert_eq!(versions, [1, 2]);
    assert_eq!(kinds(&scan), [(DamageKind::Torn, DamageCause::BadPadding)]);
}

#[test]
fn a_record_copied_to_another_rblock_does_not_verify() {
    let mut wblock = Builder::new(0, 5, &[0]);
    wblock.put_plain(1, b"key", b"value");
    let record = wblock.written[0].clone();
    let copy = wblock.image[record].to_vec();
    wblock.image[1024..1024 + copy.len()].copy_from_slice(&copy);
    let (scan, versions) = wblock.scan();
    assert_eq!((versions, scan.damage.len()), (vec![1], 0));
}

#[test]
fn heads_that_overlap_on_purpose_do_not_make_the_scan_quadratic() {
    let wblock = Builder::new(0, 5, &[0]);
    let WblockPlace { store_key, header_sequence, .. } = wblock.place;
    let mut image = vec![0_u8; WBLOCK_BYTES_MAX as usize];
    let rblocks_max = image.len() / 16;
    for (rblock, bytes) in image.chunks_exact_mut(16).enumerate() {
        let rblocks = (rblocks_max - rblock).min(5000) as u32;
        let commit = CommitWord::new(store_key, header_sequence, rblocks, false);
        bytes[..8].copy_from_slice(&commit.raw().to_le_bytes());
        bytes[8..].copy_from_slice(&[0xe0, 0xff, 0, 0, 0xe0, 0xff, 0, 0]); // key_len, no flags
    }
    let (scan, versions) = scan(&image, wblock.place);
    assert!(versions.is_empty());
    assert_eq!(scan.damage.last().map(|damage| damage.cause), Some(DamageCause::GaveUp));
}

/// A shadow of stripe 0 with two wblocks: every kind of record and padding, a struck-out tail, a
/// stale record.
fn golden_shadow() -> Vec<u8> {
    let mut shadow = vec![0; SUPERBLOCK_AREA_BYTES as usize];
    for (generation, offset) in [(4, 0), (3, SUPERBLOCK_COPY_B_OFFSET as usize)] {
        let copy = Superblock { generation, ..golden_superblock() }.encode();
        shadow[offset..offset + SUPERBLOCK_BYTES].copy_from_slice(&copy[..]);
    }
    let mut first = Builder::new(0, 7, &[0]);
    first.put_plain(1_700_000_000_000_001, b"key", b"value");
    first.put(&head(2, None, Flags::TOMBSTONE), b"deleted", b"");
    first.put(&head(3, Some(1_800_000_000_000_000), Flags::NONE), b"expires", &[0xff; 33]);
    first.flush();
    first.put(&head(4, None, Flags::MOVED | Flags::NEVER_EVICT), &[b'k'; 300], b"");
    first.pad(Padding::Filler, GEOMETRY.wblock_rblocks());
    shadow.extend(first.image);
    let mut second = Builder::new(1, 6, &[0]);
    second.put_plain(5, b"stale", b"of a previous life");
    second.put_plain(6, b"stale", b"too");
    let stale = second.image[second.written[1].clone()].to_vec();
    let stale_at = second.written[1].start;
    let mut second = Builder::new(1, 8, &[0]);
    second.put_plain(7, b"key", b"fresh");
    second.image[stale_at..stale_at + stale.len()].copy_from_slice(&stale);
    shadow.extend(second.image);
    shadow
}

fn golden_superblock() -> Superblock {
    Superblock {
        generation: 4,
        store_id: STORE_ID,
        stripe: 0,
        geometry: GEOMETRY,
        hash_seed: 0x0123_4567_89ab_cdef,
        clock_floor: 1_700_000_000_000_000,
        sequence_limit: Sequence(1024),
        created_at: 1_690_000_000_000_000,
        whole_from: Sequence(1),
        attached_at: 0,
        incomplete: false,
        clean: true,
    }
}

/// The same store with what only reclaim writes: heirs, records that stand over a forgotten past,
/// and a wblock that is struck out.
fn golden_reclaimed() -> Vec<u8> {
    let mut shadow = golden_shadow();
    let area = SUPERBLOCK_AREA_BYTES as usize;
    let over = |over: u64, head| RecordHead { over: Some(Version::from(over)), ..head };
    let expires = Some(1_800_000_000_000_000);
    let mut first = Builder::new(0, 9, &[0]);
    first.put(&head(1_700_000_000_000_002, None, Flags::HEIR), b"key", b"value");
    first.put(&over(100, head(5, None, Flags::NONE)), b"over", b"lower");
    first.put(&over(100, head(6, expires, Flags::HEIR)), b"over", &[0xff; 33]);
    first.flush();
    first.put(&over(100, head(7, None, Flags::TOMBSTONE | Flags::HEIR)), b"over", b"");
    first.put(&head(8, expires, Flags::HEIR | Flags::MOVED), b"expires", b"");
    first.flush();
    shadow[area..area + WBLOCK_BYTES].copy_from_slice(&first.image);
    let struck = golden_struck().encode_struck();
    shadow[area + WBLOCK_BYTES..][..struck.len()].copy_from_slice(&struck);
    shadow
}

fn golden_struck() -> WblockHeader {
    WblockHeader { home: home(1), sequence: Sequence(8), opened_at: 1_700_000_000_000_000 }
}

#[test]
fn the_bytes_of_a_shadow_never_change() {
    for (name, shadow) in
        [("format-1.shadow", golden_shadow()), ("format-1-reclaimed.shadow", golden_reclaimed())]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        if std::env::var_os("BRINDLE_BLESS").is_some() {
            std::fs::write(&path, &shadow).unwrap();
        }
        let golden = std::fs::read(&path).expect("the golden shadow is part of the repository");
        assert_eq!(golden.len(), shadow.len());
        let differs = golden.iter().zip(&shadow).position(|(golden, written)| golden != written);
        assert_eq!(differs, None, "first byte that differs from {name}");
    }
}

/// Asserts that the wblock of the golden `shadow` has `sequence` and these versions.
fn assert_holds(shadow: &[u8], wblock: u32, sequence: u64, versions: &[u64]) {
    let area = SUPERBLOCK_AREA_BYTES as usize;
    let image = &shadow[area + wblock as usize * WBLOCK_BYTES..][..WBLOCK_BYTES];
    let HeaderState::Valid { header, damaged_copy: false } =
        WblockHeader::decode(image, &home(wblock))
    else {
        panic!("the header of wblock {wblock} is valid");
    };
    assert_eq!(header.sequence, Sequence(sequence));
    let (scan, found) = scan(image, Builder::new(wblock, sequence, &[0]).place);
    assert_eq!((&found[..], scan.damage.len()), (versions, 0));
}

#[test]
fn the_golden_shadows_are_read_as_they_were_written() {
    let superblock = golden_superblock();
    let area = SUPERBLOCK_AREA_BYTES as usize;
    let (plain, reclaimed) = (golden_shadow(), golden_reclaimed());
    for shadow in [&plain, &reclaimed] {
        let copy_b = &shadow[SUPERBLOCK_COPY_B_OFFSET as usize..area];
        assert_eq!(
            choose(&shadow[..SUPERBLOCK_BYTES], copy_b),
            Found::Superblock { superblock, copy: CopyName::A, damaged: None }
        );
    }
    assert_holds(&plain, 0, 7, &[1_700_000_000_000_001, 2, 3, 4]);
    assert_holds(&plain, 1, 8, &[7]);
    assert_holds(&reclaimed, 0, 9, &[1_700_000_000_000_002, 5, 6, 7, 8]);
    let state = WblockHeader::decode(&reclaimed[area + WBLOCK_BYTES..], &home(1));
    assert_eq!(state, HeaderState::Struck(golden_struck()));
}

/// What a cold start makes of a shadow whose only wblock in use is struck out: nothing, no damage.
#[test]
fn a_store_opens_without_what_was_struck_out() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("shadow");
    std::fs::write(&path, "").unwrap();
    let open = || {
        let config = brindle::Config::new().wblock_size(WBLOCK_BYTES as u64);
        let config = config.data_size(4 * WBLOCK_BYTES as u64).stripes(1);
        brindle::Store::open(config.shadow_devices([&path])).unwrap()
    };
    let store = open();
    store.put("key", "value").unwrap();
    store.close().unwrap();
    let mut image = std::fs::read(&path).unwrap();
    let superblock = Superblock::decode_copy(&image[..SUPERBLOCK_BYTES])
        .or_else(|_| Superblock::decode_copy(&image[SUPERBLOCK_COPY_B_OFFSET as usize..]))
        .unwrap();
    let mut struck = 0;
    for wblock in 0..4_usize {
        let at = SUPERBLOCK_AREA_BYTES as usize + wblock * WBLOCK_BYTES;
        let home = WblockHome {
            store_id: superblock.store_id,
            stripe: 0,
            wblock: WblockId(wblock as u32),
            wblock_bytes: WBLOCK_BYTES as u32,
        };
        if let HeaderState::Valid { header, .. } = WblockHeader::decode(&image[at..], &home) {
            image[at..at + 128].copy_from_slice(&header.encode_struck());
            struck += 1;
        }
    }
    assert_eq!(struck, 1);
    std::fs::write(&path, &image).unwrap();
    let store = open();
    assert!(store.get("key").is_none());
    let load = store.stats().load;
    let nothing = brindle::LoadReport::default().rejected;
    assert_eq!((load.wblocks, load.read, load.rejected), (0, 0, nothing));
    store.put("key", "again").unwrap();
    store.close().unwrap();
    assert_eq!(open().get("key").as_deref(), Some(&b"again"[..]));
}

fn small_record() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, bool)> {
    (vec(any::<u8>(), 1..40), vec(any::<u8>(), 0..200), any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn one_flipped_bit_costs_one_piece_and_is_judged_by_its_flush(
        stale in vec(any::<u8>(), 16..64),
        flushes in vec(vec(small_record(), 1..6), 2..5),
        pick in any::<prop::sample::Index>(),
        bit in any::<prop::sample::Index>(),
    ) {
        let mut wblock = Builder::new(2, 77, &stale);
        let mut last_flush_from = 0;
        for records in &flushes {
            last_flush_from = wblock.written.len();
            for (key, value, expires) in records {
                let version = wblock.written.len() as u64; // the number of its piece
                wblock.put(&head(version, expires.then_some(1), Flags::NONE), key, value);
            }
            wblock.flush();
        }
        let (whole, before) = wblock.scan();
        prop_assert!(whole.damage.is_empty());
        let piece = pick.index(wblock.written.len());
        let victim = wblock.written[piece].clone();
        let bit = bit.index(victim.len() * 8);
        wblock.image[victim.start + bit / 8] ^= 1 << (bit % 8);
        let (hurt, after) = wblock.scan();
        let others: Vec<u64> =
            before.into_iter().filter(|version| *version != piece as u64).collect();
        prop_assert_eq!(after, others);
        let in_last = piece >= last_flush_from;
        // The very last padding has nothing behind it: with its sequence gone, it is just the end.
        if piece + 1 < wblock.written.len() || !hurt.damage.is_empty() {
            prop_assert_eq!(hurt.damage.len(), 1);
            prop_assert_eq!(hurt.damage[0].rblock as usize * 16, victim.start);
            let kind = if in_last { DamageKind::Torn } else { DamageKind::Rot };
            prop_assert_eq!(hurt.damage[0].kind, kind);
        }
    }

    #[test]
    fn any_bytes_are_scanned_to_an_end(
        bytes in vec(any::<u8>(), 0..5000),
        words in vec((any::<prop::sample::Index>(), 0..400_u32, any::<bool>()), 0..60),
    ) {
        let place = Builder::new(0, 3, &[0]).place;
        let mut image = bytes;
        for (at, rblocks, padding) in words {
            let word = CommitWord::new(place.store_key, place.header_sequence, 1, padding).raw();
            let word = (word & !1) | u64::from(rblocks); // 0 included: impossible
            let places = image.len() / 16;
            if places > 0 {
                let from = at.index(places) * 16;
                image[from..from + 8].copy_from_slice(&word.to_le_bytes());
            }
        }
        scan(&image, place);
        let _ = WblockHeader::decode(&image, &home(0));
        let _ = choose(&image, image.get(3000..).unwrap_or_default());
    }
}
