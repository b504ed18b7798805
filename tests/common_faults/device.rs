//! A device that fails as it is told to: files in the memory of the test, served through FUSE.
//!
//! It keeps what was written and what was synced apart: [`power_off`](Device::power_off) tells
//! what a power cut would leave, which of the writes that were not synced is for a seed to say.
//!
//! The store must run in another process: one that waits for a device of its own cannot be killed.

#![expect(
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a helper of tests; a fault is of writes unless told otherwise"
)]

use crate::faults::disks::text;
use crate::rng::Rng;
use fuser::{
    BackgroundSession, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use std::ffi::{CString, OsStr};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

const SECTOR: usize = 4096;
/// Nothing is to be cached beyond a call.
const TTL: Duration = Duration::ZERO;
/// Requests served at once: one that is held up holds up no other.
const SERVERS: usize = 4;
/// How far off a misdirected write lands.
const ASIDE: usize = 2 * (64 << 10);
/// The size of a wblock, and of what is in front of the first.
const PLACE: usize = 64 << 10;
const SLOW: Duration = Duration::from_millis(30);

/// What goes wrong, at the n-th write, sync or read from when it was armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A write fails, and moves nothing.
    Error(i32),
    /// So do all from there on.
    Errors(i32),
    /// A write to a wblock fails, and so do all later ones to that wblock's place.
    Sore,
    /// A write moves about half of what it was given, and an odd count.
    Short,
    /// So do all from there on, of more than a sector.
    Shorts,
    /// All from there on move some bytes of the first sector and no more.
    Stuck,
    /// A write moves some of its sectors, and then the device is gone.
    Torn,
    /// A write is acknowledged and not done.
    Lost,
    /// A write lands elsewhere.
    Misdirected,
    /// A write flips one bit.
    Flipped,
    /// A write waits until it is released.
    Held,
    /// All writes from there on take their time.
    Slow,
    /// The device is gone, for good.
    Gone,
    /// A sync fails; of what it was to make durable some is lost, and a later one knows nothing.
    SyncError,
    /// All from there on fail.
    SyncErrors,
    /// A read fails.
    ReadError,
    /// All from there on fail.
    ReadErrors,
    /// A read ends early.
    ReadShort,
}

impl Fault {
    /// The device says that it did what it did not do: then nothing can be promised but that
    /// nothing wrong is read.
    pub fn is_lie(self) -> bool {
        matches!(self, Self::Lost | Self::Misdirected | Self::Flipped)
    }

    /// Nothing fails: the store must bear it without anybody noticing.
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::Short | Self::Shorts | Self::Held | Self::Slow)
    }

    fn kind(self) -> Kind {
        match self {
            Self::SyncError | Self::SyncErrors => Kind::Sync,
            Self::ReadError | Self::ReadErrors | Self::ReadShort => Kind::Read,
            _ => Kind::Write,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Write,
    Sync,
    Read,
}

/// A file, as it is read and as it is durable.
struct Stored {
    name: String,
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last sync: where, and what.
    written: Vec<(usize, Vec<u8>)>,
}

/// The files of a device, by name.
pub type Images = Vec<(String, Vec<u8>)>;

struct State {
    files: Vec<Stored>,
    rule: Option<(Fault, u64)>,
    /// Operations of the rule's kind since it was armed.
    count: u64,
    was_met: bool,
    is_gone: bool,
    is_held: bool,
    /// The bytes that begin there in a file take no writes.
    sore: Option<(INodeNo, usize)>,
    rng: Rng,
}

impl State {
    /// The fault that this operation meets; `true`: it is the n-th.
    fn meets(&mut self, kind: Kind) -> Option<(Fault, bool)> {
        let (fault, nth) = self.rule.filter(|(fault, _)| fault.kind() == kind)?;
        self.count += 1;
        self.was_met |= self.count >= nth;
        (self.count >= nth).then_some((fault, self.count == nth))
    }

    fn file(&mut self, ino: INodeNo) -> Option<&mut Stored> {
        let at = usize::try_from(u64::from(ino)).ok()?.checked_sub(2)?;
        self.files.get_mut(at).filter(|file| !file.name.is_empty())
    }

    fn write(&mut self, ino: INodeNo, offset: usize, data: &[u8]) {
        let Some(file) = self.file(ino) else { return };
        let end = offset + data.len();
        if file.seen.len() < end {
            file.seen.resize(end, 0);
            file.durable.resize(end, 0);
        }
        file.seen[offset..end].copy_from_slice(data);
        file.written.push((offset, data.to_vec()));
    }

    /// Makes durable what was written to `ino`; of a failed sync, some of it.
    fn sync(&mut self, ino: INodeNo, succeeds: bool) {
        let mut rng = self.rng.clone();
        if let Some(file) = self.file(ino) {
            for (offset, data) in std::mem::take(&mut file.written) {
                let kept = if succeeds { data.len() } else { some_of(&mut rng, data.len()) };
                file.durable[offset..offset + kept].copy_from_slice(&data[..kept]);
            }
        }
        self.rng = rng;
    }
}

/// All, nothing, or some first sectors.
fn some_of(rng: &mut Rng, bytes: usize) -> usize {
    match rng.below(3) {
        0 => 0,
        1 => bytes,
        _ => usize::try_from(rng.below((bytes / SECTOR + 1) as u64)).unwrap_or(0) * SECTOR,
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    place: PathBuf,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection: every call of the kernel fails from here on.
    fn vanish(&self) {
        self.lock().is_gone = true;
        let name = CString::new(text(&self.place)).expect("a plain path");
        // SAFETY: `name` is a C string that outlives the call. In use, the mount stays, dead.
        unsafe { libc::umount2(name.as_ptr(), libc::MNT_FORCE) };
    }
}

/// A mounted device, taken off when it drops.
pub struct Device {
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

impl Device {
    /// Mounts a device with these files at `place`, a directory. `Err`: it cannot be had here.
    pub fn mount(place: &Path, images: &Images, seed: u64) -> io::Result<Self> {
        let stored = |(name, bytes): &(String, Vec<u8>)| Stored {
            name: name.clone(),
            seen: bytes.clone(),
            durable: bytes.clone(),
            written: Vec::new(),
        };
        let state = State {
            files: images.iter().map(stored).collect(),
            rule: None,
            count: 0,
            was_met: false,
            is_gone: false,
            is_held: false,
            sore: None,
            rng: Rng::new(seed),
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let shared = Arc::new(Shared { state, changed, place: place.to_owned() });
        let mut config = fuser::Config::default();
        config.mount_options = vec![MountOption::FSName("brindle-faults".into())];
        config.n_threads = Some(SERVERS);
        let session = fuser::spawn_mount(Served(Arc::clone(&shared)), place, &config)?;
        Ok(Self { shared, session: Some(session) })
    }

    /// From now on the `nth` operation of its kind meets `fault`.
    pub fn arm(&self, fault: Fault, nth: u64) {
        let mut state = self.shared.lock();
        state.rule = Some((fault, nth));
        state.count = 0;
    }

    /// Whether the rule was met.
    pub fn was_met(&self) -> bool {
        self.shared.lock().was_met
    }

    /// Whether a write is held up.
    pub fn is_held(&self) -> bool {
        self.shared.lock().is_held
    }

    /// Lets what is held up go on; nothing is held any more.
    pub fn release(&self) {
        let mut state = self.shared.lock();
        state.rule = state.rule.filter(|(fault, _)| *fault != Fault::Held);
        state.is_held = false;
        self.shared.changed.notify_all();
    }

    /// What a power cut leaves: all that was synced, and some of the rest.
    pub fn power_off(&self) -> Images {
        let mut state = self.shared.lock();
        let mut rng = state.rng.clone();
        let files = state.files.iter_mut().filter(|file| !file.name.is_empty());
        let images = files.map(|file| {
            for (offset, data) in std::mem::take(&mut file.written) {
                let kept = some_of(&mut rng, data.len());
                file.durable[offset..offset + kept].copy_from_slice(&data[..kept]);
            }
            (file.name.clone(), file.durable.clone())
        });
        images.collect()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.release();
        self.shared.vanish();
        let name = CString::new(text(&self.shared.place)).expect("a plain path");
        // SAFETY: `name` is a C string that outlives the call.
        unsafe { libc::umount2(name.as_ptr(), libc::MNT_DETACH) };
        if let Some(session) = self.session.take() {
            // It has ended with the connection, one way or the other.
            drop(session.umount_and_join());
        }
    }
}

/// What the kernel asks.
struct Served(Arc<Shared>);

impl Served {
    fn attributes(ino: INodeNo, bytes: u64) -> FileAttr {
        let is_root = ino == INodeNo::ROOT;
        FileAttr {
            ino,
            size: bytes,
            blocks: bytes.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_root { FileType::Directory } else { FileType::RegularFile },
            perm: if is_root { 0o755 } else { 0o600 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn number(at: usize) -> INodeNo {
        INodeNo(at as u64 + 2)
    }

    fn find(&self, name: &OsStr) -> Option<FileAttr> {
        let state = self.0.lock();
        let at = state.files.iter().position(|file| OsStr::new(&file.name) == name)?;
        Some(Self::attributes(Self::number(at), state.files[at].seen.len() as u64))
    }

    fn examine(&self, ino: INodeNo) -> Option<FileAttr> {
        if ino == INodeNo::ROOT {
            return Some(Self::attributes(ino, 0));
        }
        let mut state = self.0.lock();
        let bytes = state.file(ino)?.seen.len() as u64;
        Some(Self::attributes(ino, bytes))
    }

    /// Does a write as the rules say. Returns the bytes moved.
    fn write_by_rule(&self, ino: INodeNo, offset: usize, data: &[u8]) -> Result<usize, i32> {
        let mut state = self.0.lock();
        let bytes = data.len();
        // What is in front of the wblocks does not count.
        let is_of_wblock = offset >= PLACE;
        let met = match state.rule {
            Some((Fault::Sore, _)) if !is_of_wblock => None,
            _ => state.meets(Kind::Write),
        };
        if matches!(met, Some((Fault::Sore, _))) {
            let place = (ino, offset - offset % PLACE);
            if *state.sore.get_or_insert(place) == place {
                return Err(libc::EIO);
            }
        }
        let whole = match met {
            Some((Fault::Error(errno), true) | (Fault::Errors(errno), _)) => {
                return Err(errno);
            }
            Some((Fault::Short, true)) => bytes.min(bytes / 2 + 1),
            Some((Fault::Shorts, _)) if bytes > SECTOR => (bytes / 2 + 1).max(SECTOR + 1),
            Some((Fault::Stuck, _)) => bytes.min(100),
            Some((Fault::Torn, true)) => {
                let kept = some_of(&mut state.rng, bytes);
                state.write(ino, offset, &data[..kept]);
                drop(state);
                self.0.vanish();
                return Err(libc::EIO);
            }
            Some((Fault::Gone, true)) => {
                drop(state);
                self.0.vanish();
                return Err(libc::EIO);
            }
            Some((Fault::Lost, true)) => return Ok(bytes),
            Some((Fault::Misdirected, true)) => {
                let end = state.file(ino).map_or(0, |file| file.seen.len());
                let aside = if offset + ASIDE + bytes <= end { offset + ASIDE } else { 0 };
                state.write(ino, aside, data);
                return Ok(bytes);
            }
            Some((Fault::Flipped, true)) => {
                let mut flipped = data.to_vec();
                let bit = state.rng.below(bytes as u64 * 8);
                flipped[usize::try_from(bit / 8).expect("small")] ^= 1 << (bit % 8);
                state.write(ino, offset, &flipped);
                return Ok(bytes);
            }
            Some((Fault::Held, true)) => {
                state.is_held = true;
                while state.is_held {
                    state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                bytes
            }
            Some((Fault::Slow, _)) => {
                drop(state);
                thread::sleep(SLOW);
                state = self.0.lock();
                bytes
            }
            _ => bytes,
        };
        if state.is_gone {
            return Err(libc::EIO);
        }
        state.write(ino, offset, &data[..whole]);
        Ok(whole)
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(name).filter(|_| parent == INodeNo::ROOT) {
            Some(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.examine(ino) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<fuser::TimeOrNow>,
        _: Option<fuser::TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        if let (Some(bytes), Some(file)) = (size, self.0.lock().file(ino)) {
            let bytes = usize::try_from(bytes).expect("a small disk");
            file.seen.resize(bytes, 0);
            file.durable.resize(bytes, 0);
        }
        match self.examine(ino) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn create(
        &self,
        _: &Request,
        _: INodeNo,
        name: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let mut state = self.0.lock();
        let name = name.to_str().expect("a plain name").to_owned();
        let (seen, durable, written) = (Vec::new(), Vec::new(), Vec::new());
        state.files.push(Stored { name, seen, durable, written });
        let ino = Self::number(state.files.len() - 1);
        let (handle, flags) = (FileHandle(0), FopenFlags::empty());
        reply.created(&TTL, &Self::attributes(ino, 0), Generation(0), handle, flags);
    }

    fn unlink(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.0.lock();
        match state.files.iter_mut().find(|file| OsStr::new(&file.name) == name) {
            Some(file) => {
                file.name.clear();
                reply.ok();
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        let end = usize::try_from(offset + length).expect("a small disk");
        if let Some(file) = self.0.lock().file(ino)
            && file.seen.len() < end
        {
            file.seen.resize(end, 0);
            file.durable.resize(end, 0);
        }
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.0.lock();
        let mut bytes = size as usize;
        match state.meets(Kind::Read) {
            Some((Fault::ReadError, true) | (Fault::ReadErrors, _)) => {
                return reply.error(Errno::EIO);
            }
            Some((Fault::ReadShort, true)) => bytes /= 2,
            _ => {}
        }
        let Some(file) = state.file(ino) else { return reply.error(Errno::ENOENT) };
        let start = usize::try_from(offset).expect("a small disk").min(file.seen.len());
        let end = (start + bytes).min(file.seen.len());
        reply.data(&file.seen[start..end]);
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let offset = usize::try_from(offset).expect("a small disk");
        match self.write_by_rule(ino, offset, data) {
            Ok(bytes) => reply.written(u32::try_from(bytes).expect("a small write")),
            Err(errno) => reply.error(Errno::from_i32(errno)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut state = self.0.lock();
        let fails = match state.meets(Kind::Sync) {
            Some((Fault::SyncError, is_it)) => is_it,
            Some((Fault::SyncErrors, _)) => true,
            _ => state.is_gone,
        };
        state.sync(ino, !fails);
        if fails { reply.error(Errno::EIO) } else { reply.ok() }
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let state = self.0.lock();
        let from = usize::try_from(offset).expect("few");
        for (at, file) in state.files.iter().enumerate().skip(from) {
            let kind = FileType::RegularFile;
            let (ino, next) = (Self::number(at), at as u64 + 1);
            if !file.name.is_empty() && reply.add(ino, next, kind, &file.name) {
                break;
            }
        }
        reply.ok();
    }
}
