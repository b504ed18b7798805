//! Claims about single pieces of the format: what is written comes back, and what was changed, or
//! put elsewhere, does not.
#![expect(clippy::indexing_slicing, reason = "helpers of tests")]

use std::cmp::Ordering;

use brindle::format::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// A record of some store, with its place.
#[derive(Clone, Debug)]
struct Sample {
    store_key: StoreKey,
    location: Location,
    sequence: Sequence,
    head: RecordHead,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Sample {
    fn encode(&self) -> Vec<u8> {
        let RecordHead { expires_at, over, .. } = self.head;
        let shape =
            Shape::new(self.key.len(), self.value.len(), expires_at.is_some(), over.is_some());
        let commit = CommitWord::new(self.store_key, self.sequence, shape.rblocks, false);
        let seed = Seed::new(self.store_key, self.location, commit);
        let checks = Checks::compute(seed, &self.head, &shape, &self.key, &self.value);
        let head = encode_head(&shape, &self.head, checks);
        let len = shape.header_bytes - 8;
        let commit = commit.raw().to_le_bytes();
        let pad = vec![0; shape.pad];
        let bytes = [&commit, &head[..len], &self.key, &self.value, &pad].concat();
        assert_eq!(bytes.len(), shape.total_bytes());
        bytes
    }
}

fn flags() -> impl Strategy<Value = Flags> {
    any::<[bool; 4]>().prop_map(|[tombstone, moved, kept, heir]| {
        let pick = |set: bool, flag| if set { flag } else { Flags::NONE };
        pick(tombstone, Flags::TOMBSTONE)
            | pick(moved, Flags::MOVED)
            | pick(kept, Flags::NEVER_EVICT)
            | pick(heir, Flags::HEIR)
    })
}

fn sample(key_len: usize, value_len: usize) -> impl Strategy<Value = Sample> {
    (
        any::<[u8; 16]>(),
        0..1_u64 << 40,
        1..1_u64 << 43,
        (any::<u64>(), any::<[Option<u64>; 2]>(), flags()),
        vec(any::<u8>(), 1..=key_len),
        vec(any::<u8>(), 0..=value_len),
    )
        .prop_map(
            |(id, location, sequence, (version, [expires_at, over], flags), key, value)| {
                let (version, over) = (Version::from(version), over.map(Version::from));
                Sample {
                    store_key: StoreKey::of(&StoreId(id)),
                    location: Location(location),
                    sequence: Sequence(sequence),
                    head: RecordHead { version, expires_at, over, flags },
                    key,
                    value,
                }
            },
        )
}

/// One of few versions, `over`s and expiries, so that every part of the order comes to decide.
fn close_sample() -> impl Strategy<Value = Sample> {
    (sample(3, 2), 0..5_u64).prop_map(|(mut sample, version)| {
        sample.head.version = Version::from(version);
        sample.head.over = sample.head.over.map(|over| Version::from(u64::from(over) % 5));
        sample.head.expires_at = sample.head.expires_at.map(|at| at % 3);
        sample
    })
}

fn header() -> impl Strategy<Value = WblockHeader> {
    (any::<[u8; 16]>(), any::<[u32; 3]>(), 1..1_u64 << 43, any::<u64>()).prop_map(
        |(id, [stripe, wblock, wblock_bytes], sequence, opened_at)| WblockHeader {
            home: WblockHome {
                store_id: StoreId(id),
                stripe,
                wblock: WblockId(wblock),
                wblock_bytes,
            },
            sequence: Sequence(sequence),
            opened_at,
        },
    )
}

fn superblock() -> impl Strategy<Value = Superblock> {
    (any::<[u8; 16]>(), any::<[u64; 4]>(), 1..=1024_u32, 16..=23_u32, any::<bool>()).prop_map(
        |(id, [generation, hash_seed, clock_floor, created_at], stripes, log, clean)| Superblock {
            generation: generation >> 1,
            store_id: StoreId(id),
            stripe: stripes - 1,
            geometry: Geometry { wblock_bytes: 1 << log, stripes, wblocks_per_stripe: 1000 },
            hash_seed,
            clock_floor,
            sequence_limit: Sequence(1 << 43),
            created_at,
            whole_from: Sequence(1),
            attached_at: created_at >> 1,
            incomplete: stripes % 2 == 0,
            clean,
        },
    )
}

fn flip(bytes: &mut [u8], bit: usize) {
    bytes[bit / 8] ^= 1 << (bit % 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_record_comes_back(sample in sample(700, 3000)) {
        let bytes = sample.encode();
        let view = RecordView::new(&bytes).unwrap();
        prop_assert_eq!((view.key(), view.value()), (&sample.key[..], &sample.value[..]));
        prop_assert_eq!(view.version(), sample.head.version);
        prop_assert_eq!(view.expires_at(), sample.head.expires_at);
        prop_assert_eq!(view.over(), sample.head.over);
        prop_assert_eq!(view.is_heir(), sample.head.flags.contains(Flags::HEIR));
        prop_assert!(view.flags().contains(sample.head.flags));
        prop_assert_eq!(view.is_tombstone(), sample.head.flags.contains(Flags::TOMBSTONE));
        prop_assert_eq!(view.rblocks() as usize * 16, bytes.len());
        prop_assert!(view.commit().is_of(sample.store_key, sample.sequence));
        prop_assert_eq!(view.verify(sample.store_key, sample.location), Verdict::Good);
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_found(sample in sample(40, 100)) {
        let whole = sample.encode();
        let value_from = whole.len() - RecordView::new(&whole).unwrap().flags().pad()
            - sample.value.len();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            flip(&mut bytes, bit);
            let verdict = RecordView::new(&bytes)
                .map(|view| view.verify(sample.store_key, sample.location));
            if bit / 8 >= value_from {
                prop_assert_eq!(verdict, Some(Verdict::BadValue), "bit {}", bit);
            } else {
                prop_assert!(matches!(verdict, None | Some(Verdict::Bad)), "bit {}", bit);
            }
        }
    }

    #[test]
    fn a_record_verifies_nowhere_else(
        sample in sample(40, 100),
        location in 0..1_u64 << 40,
        id in any::<[u8; 16]>(),
        sequence in 1..1_u64 << 43,
    ) {
        let bytes = sample.encode();
        let view = RecordView::new(&bytes).unwrap();
        let elsewhere = [Location(location), Location(sample.location.0 ^ 1)];
        for location in elsewhere.into_iter().filter(|location| *location != sample.location) {
            prop_assert_eq!(view.verify(sample.store_key, location), Verdict::Bad);
        }
        let other_store = StoreKey::of(&StoreId(id));
        prop_assert_eq!(view.verify(other_store, sample.location), Verdict::Bad);
        if sequence != sample.sequence.0 {
            let other =
                CommitWord::new(sample.store_key, Sequence(sequence), view.rblocks(), false);
            let mut bytes = bytes.clone();
            bytes[..8].copy_from_slice(&other.raw().to_le_bytes());
            let view = RecordView::new(&bytes).unwrap();
            prop_assert_eq!(view.verify(sample.store_key, sample.location), Verdict::Bad);
        }
    }

    #[test]
    fn any_bytes_give_a_view_or_none(bytes in vec(any::<u8>(), 0..200), rblocks in 0..12_u64) {
        let mut bytes = bytes;
        if let Some(word) = bytes.first_chunk_mut() {
            *word = rblocks.to_le_bytes();
        }
        if let Some(view) = RecordView::new(&bytes) {
            let store_key = StoreKey::of(&StoreId([0; 16]));
            prop_assert_ne!(view.verify(store_key, Location(0)), Verdict::Good);
        }
    }

    #[test]
    fn an_unknown_flag_is_told_from_damage(sample in sample(10, 10), bit in 0..16_u32) {
        let flag = Flags::from_raw(1 << bit);
        prop_assume!(!flag.is_supported());
        let mut sample = sample;
        sample.head.flags = sample.head.flags | flag;
        let bytes = sample.encode();
        let view = RecordView::new(&bytes).unwrap();
        prop_assert_eq!(view.verify(sample.store_key, sample.location), Verdict::Unsupported);
    }

    #[test]
    fn every_flipped_bit_of_a_padding_is_found(
        id in any::<[u8; 16]>(),
        location in 0..1_u64 << 40,
        number in 0..FLUSHES_MAX,
        start_sector in 0..2048_u16,
        is_filler in any::<bool>(),
    ) {
        let store_key = StoreKey::of(&StoreId(id));
        let location = Location(location);
        let commit = CommitWord::new(store_key, Sequence(8), 256, true);
        let padding =
            if is_filler { Padding::Filler } else { Padding::FlushEnd { number, start_sector } };
        let tail = padding.encode(Seed::new(store_key, location, commit));
        let whole = [commit.raw().to_le_bytes(), tail].concat();
        prop_assert_eq!(Padding::decode(&whole, store_key, location), Some(padding));
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            flip(&mut bytes, bit);
            prop_assert_eq!(Padding::decode(&bytes, store_key, location), None, "bit {}", bit);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_found_and_harmless(header in header()) {
        let whole = header.encode();
        let sound = HeaderState::Valid { header, damaged_copy: false };
        prop_assert_eq!(WblockHeader::decode(&whole, &header.home), sound);
        let hurt = HeaderState::Valid { header, damaged_copy: true };
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole;
            flip(&mut bytes, bit);
            prop_assert_eq!(WblockHeader::decode(&bytes, &header.home), hurt, "bit {}", bit);
            flip(&mut bytes, (bit + 512) % 1024); // the same bit of the other copy
            prop_assert_eq!(WblockHeader::decode(&bytes, &header.home), HeaderState::Damaged);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_struck_header_is_found_and_harmless(header in header()) {
        let whole = header.encode_struck();
        let struck = HeaderState::Struck(header);
        prop_assert_eq!(WblockHeader::decode(&whole, &header.home), struck);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole;
            flip(&mut bytes, bit);
            prop_assert_eq!(WblockHeader::decode(&bytes, &header.home), struck, "bit {}", bit);
            flip(&mut bytes, (bit + 512) % 1024); // the same bit of the other copy
            prop_assert_eq!(WblockHeader::decode(&bytes, &header.home), HeaderState::Damaged);
        }
    }

    #[test]
    fn the_higher_generation_counts(superblock in superblock()) {
        let newer = Superblock { generation: superblock.generation + 1, ..superblock };
        let (old, new) = (superblock.encode(), newer.encode());
        prop_assert_eq!(Superblock::decode_copy(&old[..]), Ok(superblock));
        for (a, b, copy) in [(&old, &new, CopyName::B), (&new, &old, CopyName::A)] {
            let found = Found::Superblock { superblock: newer, copy, damaged: None };
            prop_assert_eq!(choose(&a[..], &b[..]), found);
        }
    }

    #[test]
    fn precedence_is_a_total_order(samples in vec(close_sample(), 3)) {
        let bytes: Vec<_> = samples.iter().map(Sample::encode).collect();
        let views: Vec<_> = bytes.iter().map(|bytes| RecordView::new(bytes).unwrap()).collect();
        let [a, b, c] = [&views[0], &views[1], &views[2]];
        prop_assert_eq!(precedence(a, a), Ordering::Equal);
        prop_assert_eq!(precedence(a, b), precedence(b, a).reverse());
        if precedence(a, b).is_le() && precedence(b, c).is_le() {
            prop_assert!(precedence(a, c).is_le());
        }
        prop_assert_eq!(precedence(a, b).is_eq(), a.rank() == b.rank());
    }

    #[test]
    fn what_was_forgotten_never_wins(new in close_sample(), old in close_sample()) {
        let (new_bytes, old_bytes) = (new.encode(), old.encode());
        let new = RecordView::new(&new_bytes).unwrap();
        let old = RecordView::new(&old_bytes).unwrap();
        let Some(over) = new.over() else { return Ok(()) };
        if old.version() <= over && old.over().is_none_or(|older| older < over) {
            prop_assert_eq!(precedence(&new, &old), Ordering::Greater);
        }
    }

    #[test]
    fn without_over_the_version_decides(left in close_sample(), right in close_sample()) {
        let plain = |mut sample: Sample| {
            sample.head.over = None;
            sample.encode()
        };
        let (left, right) = (plain(left), plain(right));
        let left = RecordView::new(&left).unwrap();
        let right = RecordView::new(&right).unwrap();
        let by_version = left.version().cmp(&right.version());
        prop_assert!(by_version.is_eq() || precedence(&left, &right) == by_version);
    }
}

#[test]
fn every_flipped_bit_of_a_superblock_is_found_and_harmless() {
    let superblock = Superblock {
        generation: 7,
        store_id: StoreId([0x5a; 16]),
        stripe: 3,
        geometry: Geometry { wblock_bytes: 8 << 20, stripes: 4, wblocks_per_stripe: 8 },
        hash_seed: 1,
        clock_floor: 2,
        sequence_limit: Sequence(3),
        created_at: 4,
        whole_from: Sequence(1),
        attached_at: 0,
        incomplete: false,
        clean: false,
    };
    let whole = superblock.encode();
    let older = Superblock { generation: 6, ..superblock };
    let other = older.encode();
    let mut bytes = whole.clone();
    for bit in 0..SUPERBLOCK_BYTES * 8 {
        flip(&mut bytes[..], bit);
        let error = Superblock::decode_copy(&bytes[..]).unwrap_err();
        let damaged = Some(DamagedCopy { copy: CopyName::A, error });
        let found = Found::Superblock { superblock: older, copy: CopyName::B, damaged };
        assert_eq!(choose(&bytes[..], &other[..]), found, "bit {bit}");
        flip(&mut bytes[..], bit);
    }
    assert_eq!(bytes, whole);
}

/// `superblock` as it would be with `change` made by someone who also mends the checksum.
fn forged(superblock: &Superblock, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = superblock.encode().to_vec();
    change(&mut bytes);
    let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..4088]);
    bytes[4088..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn plain_superblock() -> Superblock {
    Superblock {
        generation: 1,
        store_id: StoreId([1; 16]),
        stripe: 0,
        geometry: Geometry { wblock_bytes: 8 << 20, stripes: 1, wblocks_per_stripe: 2 },
        hash_seed: 0,
        clock_floor: 0,
        sequence_limit: Sequence(1),
        created_at: 0,
        whole_from: Sequence(1),
        attached_at: 0,
        incomplete: false,
        clean: true,
    }
}

#[test]
fn impossible_values_are_refused_before_anyone_calculates_with_them() {
    let plain = plain_superblock();
    let word = |value: u32| value.to_le_bytes();
    for (field, offset, value) in [
        ("flags", 12, word(4)),
        ("stripe", 40, word(1)),
        ("stripes", 44, word(0)),
        ("stripes", 44, word(1025)),
        ("wblock_bytes", 48, word(0)),
        ("wblock_bytes", 48, word(3 << 20)),
        ("wblock_bytes", 48, word(1 << 31)),
        ("wblock_bytes", 48, word(1 << 12)),
        ("wblocks", 52, word(0)),
        ("wblocks", 52, word(u32::MAX)),
        ("wblocks", 52, word((1 << 21) + 1)), // beyond 2^40 rblocks
        ("sequence_limit", 72, word(0)),
        ("sequence_limit", 76, word(1 << 12)),
        ("whole_from", 88, word(2)),
        ("format_version", 8, word(0)),
    ] {
        let bytes = forged(&plain, |bytes| bytes[offset..offset + 4].copy_from_slice(&value));
        let expected = Err(CopyError::Impossible { field });
        assert_eq!(Superblock::decode_copy(&bytes), expected, "{field}");
    }
    let most = forged(&plain, |bytes| bytes[52..56].copy_from_slice(&word(1 << 21)));
    assert!(Superblock::decode_copy(&most).is_ok(), "2^40 rblocks exactly");
}

#[test]
fn a_newer_format_is_recognised_and_left_alone() {
    let plain = plain_superblock();
    let (zero, ours) = (vec![0; SUPERBLOCK_BYTES], plain.encode());
    let newer = forged(&plain, |bytes| bytes[8] = 9);
    let mut unknown = newer.clone();
    unknown[4095] ^= 1; // such a version may compute its checksum in another way
    for (a, b) in [(&newer[..], &ours[..]), (&ours[..], &newer[..]), (&newer[..], &zero[..])] {
        assert_eq!(choose(a, b), Found::NewerFormat(9));
    }
    assert_eq!(choose(&unknown, &unknown), Found::NewerFormat(9));
    let damaged =
        DamagedCopy { copy: CopyName::B, error: CopyError::Newer { version: 9, whole: false } };
    let found = Found::Superblock { superblock: plain, copy: CopyName::A, damaged: Some(damaged) };
    assert_eq!(choose(&ours[..], &unknown), found, "one damaged copy never refuses");
}

#[test]
fn what_is_no_shadow_is_told_apart() {
    let (zero, ours) = (vec![0; SUPERBLOCK_BYTES], plain_superblock().encode());
    let other = Superblock { store_id: StoreId([2; 16]), ..plain_superblock() }.encode();
    assert_eq!(choose(&[], &[]), Found::AllZero);
    assert_eq!(choose(&zero, &zero), Found::AllZero);
    assert_eq!(choose(&zero[..100], &[]), Found::AllZero);
    let first_bytes = "#!/bin/sh\\necho \\".to_owned();
    let found = choose(b"#!/bin/sh\necho \"not a shadow\"", &[]);
    assert!(
        matches!(&found, Found::Foreign { first_bytes: shown } if shown[..15] == first_bytes[..15])
    );
    assert!(matches!(choose(&zero, &[7; 4096]), Found::Foreign { .. }));
    let mut hurt = ours.clone();
    hurt[200] ^= 1;
    let damaged = Found::Damaged { a: CopyError::Checksum, b: CopyError::Zero };
    assert_eq!(choose(&hurt[..], &zero), damaged);
    let damaged = Found::Damaged { a: CopyError::Short, b: CopyError::Short };
    assert_eq!(choose(&ours[..4095], &[]), damaged);
    let damaged = Some(DamagedCopy { copy: CopyName::B, error: CopyError::Disagrees });
    let found = Found::Superblock { superblock: plain_superblock(), copy: CopyName::A, damaged };
    assert_eq!(choose(&ours[..], &other[..]), found);
}
