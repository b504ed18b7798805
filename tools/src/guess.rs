//! A superblock for a file that has none: what the headers of its wblocks say.
//!
//! A header names its store, its stripe, its number and the size of a wblock, and verifies by
//! itself. Several that agree on the place of the first wblock are believed; a single one is, too,
//! for nothing of what follows is taken without a checksum that depends on all of that.

use crate::shadow::{Member, Shadow};
use brindle::format::{
    Geometry, HeaderState, SECTOR_BYTES, SUPERBLOCK_AREA_BYTES, Sequence, StoreId, Superblock,
    WBLOCK_BYTES_MIN, WblockHeader, WblockHome, WblockId,
};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Places that are looked at: of the smallest wblocks 64 GiB.
const PLACES_MAX: u64 = 1 << 20;
/// Headers that are enough.
const HEADERS_MAX: usize = 64;

/// What a header says of its file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Claim {
    store_id: StoreId,
    stripe: u32,
    wblock_bytes: u32,
    /// The number of the first wblock of the stripe.
    first: u32,
}

/// Makes members of the files of `shadow` that have no superblock; how many that were.
pub(crate) fn adopt_headless(shadow: &mut Shadow) -> usize {
    let known = shadow.members.first().map(|member| member.superblock);
    let headless = std::mem::take(&mut shadow.headless);
    let before = shadow.members.len();
    let claims: Vec<_> = headless
        .into_iter()
        .filter_map(|(file, path, bytes)| {
            let claim = claim(&file, bytes)?;
            let is_ours = known.is_none_or(|known| known.store_id == claim.store_id);
            is_ours.then_some(((file, path, bytes), claim))
        })
        .collect();
    let geometry = known.map(|known| known.geometry).or_else(|| shape(&claims));
    let Some(geometry) = geometry else { return 0 };
    for (file, claim) in claims {
        let is_there = |member: &Member| member.superblock.stripe == claim.stripe;
        let fits = claim.wblock_bytes == geometry.wblock_bytes
            && claim.stripe < geometry.stripes
            && claim.stripe.checked_mul(geometry.wblocks_per_stripe) == Some(claim.first);
        if fits && !shadow.members.iter().any(is_there) {
            let superblock = superblock(claim, geometry);
            shadow.members.push(Member::guessed(file, superblock));
        }
    }
    shadow.members.len() - before
}

/// The claim that most headers of the file make.
fn claim(file: &File, bytes: u64) -> Option<Claim> {
    let nowhere = WblockHome {
        store_id: StoreId([0; 16]),
        stripe: u32::MAX,
        wblock: WblockId(u32::MAX),
        wblock_bytes: 0,
    };
    let mut claims: HashMap<Claim, usize> = HashMap::new();
    let places = bytes.saturating_sub(SUPERBLOCK_AREA_BYTES) / u64::from(WBLOCK_BYTES_MIN);
    let mut sector = vec![0; SECTOR_BYTES as usize];
    for place in 0..places.min(PLACES_MAX) {
        let offset = SUPERBLOCK_AREA_BYTES + place * u64::from(WBLOCK_BYTES_MIN);
        if file.read_exact_at(&mut sector, offset).is_err() {
            continue;
        }
        let HeaderState::Foreign(header) = WblockHeader::decode(&sector, &nowhere) else {
            continue;
        };
        if let Some(claim) = Claim::of(&header, offset) {
            *claims.entry(claim).or_default() += 1;
        }
        if claims.values().sum::<usize>() >= HEADERS_MAX {
            break;
        }
    }
    claims.into_iter().max_by_key(|(_, headers)| *headers).map(|(claim, _)| claim)
}

impl Claim {
    fn of(header: &WblockHeader, offset: u64) -> Option<Self> {
        let WblockHome { store_id, stripe, wblock, wblock_bytes } = header.home;
        let behind = offset - SUPERBLOCK_AREA_BYTES;
        let is_size = wblock_bytes.is_power_of_two()
            && (WBLOCK_BYTES_MIN..=brindle::format::WBLOCK_BYTES_MAX).contains(&wblock_bytes);
        if !is_size || !behind.is_multiple_of(wblock_bytes.into()) {
            return None;
        }
        let place = u32::try_from(behind / u64::from(wblock_bytes)).ok()?;
        let first = wblock.0.checked_sub(place)?;
        Some(Self { store_id, stripe, wblock_bytes, first })
    }
}

/// The smallest shape that the claims fit into: wblocks of a stripe from the number of the first,
/// or else from the length of the file.
fn shape(claims: &[((File, std::path::PathBuf, u64), Claim)]) -> Option<Geometry> {
    let (_, first) = claims.first()?;
    let stripes = claims.iter().map(|(_, claim)| claim.stripe).max()?.checked_add(1)?;
    let by_number = claims.iter().find(|(_, claim)| claim.stripe > 0);
    let by_number = by_number.map(|(_, claim)| claim.first / claim.stripe);
    let by_length = claims.iter().map(|((_, _, bytes), claim)| {
        let wblocks = bytes.saturating_sub(SUPERBLOCK_AREA_BYTES) / u64::from(claim.wblock_bytes);
        u32::try_from(wblocks).unwrap_or(u32::MAX)
    });
    let wblocks_per_stripe = by_number.or_else(|| by_length.max()).filter(|count| *count > 0)?;
    let wblocks = u64::from(stripes) * u64::from(wblocks_per_stripe);
    let geometry = Geometry { wblock_bytes: first.wblock_bytes, stripes, wblocks_per_stripe };
    // What a superblock is held to.
    (stripes <= 1024 && wblocks <= 1 << 24 && geometry.region_bytes() <= 1 << 44)
        .then_some(geometry)
}

fn superblock(claim: Claim, geometry: Geometry) -> Superblock {
    let limit = Sequence(1 << 43);
    Superblock {
        generation: 0,
        store_id: claim.store_id,
        stripe: claim.stripe,
        geometry,
        hash_seed: 0,
        clock_floor: 0,
        sequence_limit: limit,
        created_at: 0,
        // Of no wblock is it known that it was durable as a whole.
        whole_from: limit,
        attached_at: 0,
        clean: false,
        incomplete: false,
    }
}
