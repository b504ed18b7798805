//! Shadows as files: found, opened read-only, recognised. Nothing is locked, mapped or written.
//!
//! What is odd about one member does not keep the others from being read: it is noted, and the
//! commands say it.

use crate::args::PathArgs;
use crate::error::Failure;
use crate::output::{is_silent, warn_of_oddities};
use brindle::format::{
    Census, CopyError, CopyName, DamagedCopy, Found, Geometry, Location, SUPERBLOCK_AREA_BYTES,
    SUPERBLOCK_BYTES, SUPERBLOCK_COPY_B_OFFSET, Superblock, WblockId, choose,
};
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Looks at something that a live store may be writing, before it is believed to be damaged.
pub(crate) const RETRIES: u32 = 3;
/// Time between two such looks.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Waits between two such looks; not where nobody can be writing.
pub(crate) fn pause() {
    if !is_silent() {
        thread::sleep(RETRY_PAUSE);
    }
}

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
    /// The first member that does not belong to the others.
    mixed: Option<Oddity>,
}

impl Shadow {
    /// Opens what `args` name. At least one member has our magic.
    pub(crate) fn open(args: &PathArgs) -> Result<Self, Failure> {
        let is_dir = fs::metadata(&args.path).is_ok_and(|metadata| metadata.is_dir());
        let mut paths = if is_dir { list(&args.path)? } else { vec![args.path.clone()] };
        paths.extend(args.members.iter().cloned());
        let mut shadow = Self { members: Vec::new(), oddities: Vec::new(), mixed: None };
        let mut is_ours = false;
        for path in paths {
            is_ours |= shadow.add(path)?;
        }
        if !is_ours {
            let found = match shadow.oddities.into_iter().next() {
                Some(oddity) => oddity.what,
                None => "a directory without stripe-000.shadow".to_owned(),
            };
            return Err(Failure::NotAShadow { path: args.path.clone(), found });
        }
        shadow.check_set(is_dir || !args.members.is_empty());
        Ok(shadow)
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

    fn require_member(self, args: &PathArgs) -> Result<Self, Failure> {
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
        let what = match found {
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
                let what = format!("both superblock copies are damaged (A: {a}; B: {b})");
                self.oddities.push(Oddity { path, what, is_damage: true });
                return Ok(true);
            }
            Found::AllZero => format!("{bytes} bytes without a superblock"),
            Found::Foreign { first_bytes } => format!("a file that starts with \"{first_bytes}\""),
        };
        self.oddities.push(Oddity { path, what, is_damage: true });
        Ok(false)
    }

    /// Whether the members belong together, and are all. `is_set`: all of them were named.
    fn check_set(&mut self, is_set: bool) {
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

fn failed(op: &'static str, path: &Path) -> impl Fn(io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure::File { op, path: path.clone(), source }
}

/// Paths of the shadow files in `dir`, in the order of their stripes.
fn list(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut stripes = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let name = entry.map_err(failed("list", dir))?.file_name();
        let stripe = name.to_str().and_then(|name| {
            let digits = name.strip_prefix("stripe-")?.strip_suffix(".shadow")?;
            let stripe = digits.parse::<u32>().ok()?;
            (format!("{stripe:03}") == digits).then_some(stripe)
        });
        stripes.extend(stripe);
    }
    stripes.sort_unstable();
    Ok(stripes.into_iter().map(|n| dir.join(format!("stripe-{n:03}.shadow"))).collect())
}

/// Opens a file or block device read-only. Anything else is not even opened: a FIFO would wait.
fn open(path: &Path) -> Result<(File, u64), Failure> {
    let kind = fs::metadata(path).map_err(failed("open", path))?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        let found = match () {
            () if kind.is_dir() => "a directory",
            () if kind.is_fifo() => "a FIFO",
            () if kind.is_socket() => "a socket",
            () => "a character device",
        };
        return Err(Failure::NotAShadow { path: path.to_owned(), found: found.to_owned() });
    }
    let mut file = File::open(path).map_err(failed("open", path))?;
    let bytes = file.seek(SeekFrom::End(0)).map_err(failed("size", path))?;
    Ok((file, bytes))
}

/// What the superblock copies say. A copy that is being rewritten is looked at again.
fn find(file: &File) -> io::Result<(Found, [Vec<u8>; 2])> {
    let mut attempt = 0;
    loop {
        let a = read_copy(file, 0)?;
        let b = read_copy(file, SUPERBLOCK_COPY_B_OFFSET)?;
        let found = choose(&a, &b);
        let is_settled = match &found {
            Found::Superblock { damaged, .. } => {
                damaged.is_none_or(|copy| copy.error != CopyError::Checksum)
            }
            Found::Damaged { .. } => false,
            Found::AllZero | Found::Foreign { .. } | Found::NewerFormat(_) => true,
        };
        if is_settled || attempt == RETRIES {
            return Ok((found, [a, b]));
        }
        attempt += 1;
        pause();
    }
}

fn read_copy(file: &File, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; SUPERBLOCK_BYTES];
    let read = read_at(file, &mut bytes, offset)?;
    bytes.truncate(read);
    Ok(bytes)
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
