//! Shadows as files: found, opened read-only, recognised. Nothing is locked, mapped or written.
//!
//! What is odd about one member does not keep the others from being read: it is noted, and the
//! commands say it.

use crate::args::PathArgs;
use crate::error::Failure;
use crate::files::{failed, find, list, open, read_at};
use crate::output::warn_of_oddities;
use brindle::format::{
    Census, CopyName, DamagedCopy, Found, Geometry, Location, SUPERBLOCK_AREA_BYTES, Superblock,
    WblockId,
};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

/// A shadow with a superblock that verifies.
#[derive(Debug)]
pub(crate) struct Member {
    file: File,
    pub(crate) path: PathBuf,
    /// Bytes that there are, which may be fewer than the shape asks for.
    pub(crate) bytes: u64,
    pub(crate) superblock: Superblock,
    /// Where the superblock that counts lies.
    pub(crate) copy: CopyName,
    pub(crate) damaged_copy: Option<DamagedCopy>,
    /// Both copies as they are, A first; shorter where the file ends.
    pub(crate) copies: [Vec<u8>; 2],
    /// How its wblocks stood when the store was last closed in order.
    pub(crate) census: Option<Census>,
}

/// Something about a shadow as a whole that is not as it should be.
#[derive(Clone, Debug)]
pub(crate) struct Oddity {
    pub(crate) path: PathBuf,
    pub(crate) what: String,
    /// Data may be lost by it.
    pub(crate) is_damage: bool,
}

/// The members of a store that were named.
#[derive(Debug)]
pub(crate) struct Shadow {
    pub(crate) members: Vec<Member>,
    pub(crate) oddities: Vec<Oddity>,
    /// Files without a superblock that verifies, and their sizes: `salvage` looks into them.
    pub(crate) headless: Vec<(File, PathBuf, u64)>,
    /// The first member that does not belong to the others.
    mixed: Option<Oddity>,
}

impl Shadow {
    /// Opens what `args` name. At least one member has our magic.
    pub(crate) fn open(args: &PathArgs) -> Result<Self, Failure> {
        let (mut shadow, is_ours) = Self::open_any(args)?;
        if !is_ours {
            let found = match shadow.oddities.into_iter().next() {
                Some(oddity) => oddity.what,
                None => "a directory without stripe-000.shadow".to_owned(),
            };
            return Err(Failure::NotAShadow { path: args.path.clone(), found });
        }
        let is_dir = fs::metadata(&args.path).is_ok_and(|metadata| metadata.is_dir());
        shadow.check_set(is_dir || !args.members.is_empty());
        Ok(shadow)
    }

    /// Opens what `args` name, whatever it is; and whether something there has our magic.
    pub(crate) fn open_any(args: &PathArgs) -> Result<(Self, bool), Failure> {
        let is_dir = fs::metadata(&args.path).is_ok_and(|metadata| metadata.is_dir());
        let mut paths = if is_dir { list(&args.path)? } else { vec![args.path.clone()] };
        paths.extend(args.members.iter().cloned());
        let mut shadow =
            Self { members: Vec::new(), oddities: Vec::new(), headless: Vec::new(), mixed: None };
        let mut is_ours = false;
        for path in paths {
            is_ours |= shadow.add(path)?;
        }
        Ok((shadow, is_ours))
    }

    /// Opens for reading keys: every member must be of one store, and one must be readable.
    pub(crate) fn open_store(args: &PathArgs) -> Result<Self, Failure> {
        let shadow = Self::open(args)?;
        if let Some(Oddity { path, what, .. }) = shadow.mixed {
            return Err(Failure::Mixed { path, what });
        }
        shadow.require_member(args)
    }

    /// Opens what can be read of one store, and says what is odd.
    pub(crate) fn open_part(args: &PathArgs) -> Result<Self, Failure> {
        let mut shadow = Self::open(args)?;
        warn_of_oddities(&shadow);
        shadow.keep_first_store();
        shadow.require_member(args)
    }

    /// Refuses if nothing of it can be read.
    pub(crate) fn require_member(self, args: &PathArgs) -> Result<Self, Failure> {
        if !self.members.is_empty() {
            return Ok(self);
        }
        let oddity = self.oddities.into_iter().next();
        let found = oddity.map_or_else(String::new, |oddity| oddity.what);
        Err(Failure::Unreadable { path: args.path.clone(), found })
    }

    /// Opens `path`. True if it has our magic.
    fn add(&mut self, path: PathBuf) -> Result<bool, Failure> {
        let (file, bytes) = open(&path)?;
        let (found, copies) = find(&file).map_err(failed("read", &path))?;
        let (what, is_ours) = match found {
            Found::Superblock { superblock, copy, damaged } => {
                self.members.push(Member::new(
                    (file, path, bytes),
                    superblock,
                    (copy, damaged),
                    copies,
                ));
                return Ok(true);
            }
            Found::NewerFormat(version) => return Err(Failure::NewerFormat { path, version }),
            Found::Damaged { a, b } => {
                (format!("both superblock copies are damaged (A: {a}; B: {b})"), true)
            }
            Found::AllZero => (format!("{bytes} bytes without a superblock"), false),
            Found::Foreign { first_bytes } => {
                (format!("a file that starts with \"{first_bytes}\""), false)
            }
        };
        self.oddities.push(Oddity { path: path.clone(), what, is_damage: true });
        self.headless.push((file, path, bytes));
        Ok(is_ours)
    }

    /// Whether the members belong together, and are all. `is_set`: all of them were named.
    pub(crate) fn check_set(&mut self, is_set: bool) {
        let Some(first) = self.members.first().map(|member| member.superblock) else { return };
        let mut seen = vec![false; first.geometry.stripes as usize];
        for member in &self.members {
            let Superblock { store_id, geometry, stripe, .. } = member.superblock;
            let is_taken = seen.get_mut(stripe as usize).map(|seen| std::mem::replace(seen, true));
            let what = if store_id != first.store_id {
                format!("belongs to store {store_id}, not {}", first.store_id)
            } else if geometry != first.geometry {
                format!("has {}, not {}", shape(geometry), shape(first.geometry))
            } else if is_taken == Some(true) {
                format!("is stripe {stripe}, which another member is too")
            } else {
                continue;
            };
            let oddity = Oddity { path: member.path.clone(), what, is_damage: true };
            self.mixed.get_or_insert_with(|| oddity.clone());
            self.oddities.push(oddity);
        }
        // Members are created one behind the other, and opened only when all are there.
        let was_opened = self.members.iter().any(|member| member.superblock.generation > 1);
        for oddity in &mut self.oddities {
            oddity.is_damage &= was_opened || !oddity.what.ends_with("without a superblock");
        }
        self.check_complete(&seen, is_set && was_opened);
        let short = self.members.iter().filter(|member| member.bytes < member.bytes_expected());
        self.oddities.extend(short.map(|member| Oddity {
            path: member.path.clone(),
            what: format!("ends at {} of {} bytes", member.bytes, member.bytes_expected()),
            is_damage: true,
        }));
    }

    /// Notes the stripes that nobody has `seen`.
    fn check_complete(&mut self, seen: &[bool], is_damage: bool) {
        let missing: Vec<String> = (0..)
            .zip(seen)
            .filter(|(_, seen)| !**seen)
            .map(|(n, _): (u32, _)| n.to_string())
            .collect();
        let Some(first) = self.members.first().filter(|_| !missing.is_empty()) else { return };
        let what = format!(
            "is one of {} stripes, and newer versions may lie in those that were not read: {}",
            seen.len(),
            missing.join(", ")
        );
        self.oddities.push(Oddity { path: first.path.clone(), what, is_damage });
    }

    /// A member does not belong to the others.
    pub(crate) const fn is_mixed(&self) -> bool {
        self.mixed.is_some()
    }

    /// Keeps of members that do not belong together those that belong to the first.
    pub(crate) fn keep_first_store(&mut self) {
        let Some(first) = self.members.first().map(|member| member.superblock) else { return };
        let mut seen = std::collections::HashSet::new();
        self.members.retain(|member| {
            let Superblock { store_id, geometry, stripe, .. } = member.superblock;
            (store_id, geometry) == (first.store_id, first.geometry) && seen.insert(stripe)
        });
    }

    /// The member that holds wblock `wblock`, and its place there.
    pub(crate) fn member_of(&self, wblock: WblockId) -> Option<(&Member, u32)> {
        let geometry = self.members.first()?.superblock.geometry;
        let stripe = geometry.home_stripe(wblock);
        let member = self.members.iter().find(|member| member.superblock.stripe == stripe)?;
        Some((member, geometry.place_on_shadow(wblock)))
    }

    /// Microseconds since 1970 below which no clock of the store may be.
    pub(crate) fn clock_floor(&self) -> u64 {
        self.members.iter().map(|member| member.superblock.clock_floor).max().unwrap_or(0)
    }

    /// Bytes of wblocks in all members.
    pub(crate) fn wblock_bytes_total(&self) -> u64 {
        self.members.iter().map(|member| member.bytes_expected() - SUPERBLOCK_AREA_BYTES).sum()
    }

    /// The member that holds `location`, and the byte at which it lies there.
    pub(crate) fn place_of(&self, location: Location) -> Option<(&Member, u64)> {
        let geometry = self.members.first()?.superblock.geometry;
        let (member, place) = self.member_of(geometry.wblock(location))?;
        let rblock = u64::from(geometry.rblock(location));
        let offset = member.offset_of(place);
        Some((member, offset + rblock * u64::from(brindle::format::RBLOCK_BYTES)))
    }
}

impl Member {
    /// A member of which nobody has read the superblock.
    pub(crate) fn guessed(file: (File, PathBuf, u64), superblock: Superblock) -> Self {
        Self::new(file, superblock, (CopyName::A, None), [Vec::new(), Vec::new()])
    }

    fn new(
        (file, path, bytes): (File, PathBuf, u64),
        superblock: Superblock,
        (copy, damaged_copy): (CopyName, Option<DamagedCopy>),
        copies: [Vec<u8>; 2],
    ) -> Self {
        let [a, b] = &copies;
        let census = superblock.census(if copy == CopyName::A { a } else { b });
        Self { file, path, bytes, superblock, copy, damaged_copy, copies, census }
    }

    /// Bytes that a shadow of this shape has.
    pub(crate) fn bytes_expected(&self) -> u64 {
        self.offset_of(self.superblock.geometry.wblocks_per_stripe)
    }

    /// Byte at which the wblock at `place` starts.
    pub(crate) fn offset_of(&self, place: u32) -> u64 {
        let wblock_bytes = u64::from(self.superblock.geometry.wblock_bytes);
        SUPERBLOCK_AREA_BYTES + u64::from(place) * wblock_bytes
    }

    /// Number in the region of the wblock at `place`.
    pub(crate) fn wblock_at(&self, place: u32) -> WblockId {
        let per_stripe = self.superblock.geometry.wblocks_per_stripe;
        WblockId(self.superblock.stripe * per_stripe + place)
    }

    /// Places of its wblocks.
    pub(crate) fn places(&self) -> std::ops::Range<u32> {
        0..self.superblock.geometry.wblocks_per_stripe
    }

    /// Wblocks that the file has room for, the last one perhaps in part.
    pub(crate) fn places_present(&self) -> u32 {
        let wblock_bytes = u64::from(self.superblock.geometry.wblock_bytes);
        let present = self.bytes.saturating_sub(SUPERBLOCK_AREA_BYTES).div_ceil(wblock_bytes);
        u32::try_from(present).unwrap_or(u32::MAX).min(self.places().end)
    }

    /// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        read_at(&self.file, buffer, offset)
    }

    /// The store was closed in order, and nobody has opened it since.
    pub(crate) fn is_closed_now(&self) -> bool {
        self.superblock_now().is_some_and(|superblock| superblock.clean)
    }

    /// The superblock as it is by now, should a live store have rewritten it.
    pub(crate) fn superblock_now(&self) -> Option<Superblock> {
        match find(&self.file) {
            Ok((Found::Superblock { superblock, .. }, _)) => Some(superblock),
            Ok(_) | Err(_) => None,
        }
    }
}

/// A shape in words.
pub(crate) fn shape(geometry: Geometry) -> String {
    let Geometry { wblock_bytes, stripes, wblocks_per_stripe } = geometry;
    format!("{stripes} stripes of {wblocks_per_stripe} wblocks of {wblock_bytes} bytes")
}

/// Name of a copy, for people.
pub(crate) const fn copy_name(copy: CopyName) -> &'static str {
    match copy {
        CopyName::A => "A",
        CopyName::B => "B",
    }
}
