//! The files of a shadow: by which names, which exist, and creating them.
#![forbid(unsafe_code)]

use super::io::{OpenError, ShadowFile, sync_directory};
use super::set::member_bytes;
use crate::config::Shadow;
use crate::error::{Error, Result};
use crate::format::{SUPERBLOCK_AREA_BYTES, Superblock};
use crate::sync::thread;
use crate::unit::Geometry;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the lock of a process that is gone is waited for. The kernel takes a killed process's
/// ring apart, and with it the files registered there and their locks, only after the process is
/// gone: some 100 to 700 ms here. Who restarts a service at once must not be told that another
/// store has its shadow; who opens one that is in use is told so at once.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Name of the shadow file of `stripe` in its directory.
pub fn file_name(stripe: u32) -> String {
    format!("stripe-{stripe:03}.shadow")
}

/// Opens and locks the members that exist: of a directory those that are there, which must be
/// the first ones without a gap; of devices all.
pub(super) fn open_existing(shadow: &Shadow, direct: bool) -> Result<Vec<ShadowFile>> {
    let paths = match shadow {
        Shadow::None => Vec::new(),
        Shadow::Dir(dir) => existing_in(dir)?,
        Shadow::Devices(paths) => paths.clone(),
    };
    paths.iter().map(|path| open_one(path, direct)).collect()
}

fn open_one(path: &Path, direct: bool) -> Result<ShadowFile> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match ShadowFile::open(path, direct) {
            Err(OpenError::Locked) if Instant::now() < deadline && is_owner_gone(path) => {
                thread::sleep(LOCK_PAUSE);
            }
            opened => return opened.map_err(|error| explain(error, path)),
        }
    }
}

/// True if the process that took the lock on `path` has ended, as far as the system tells.
fn is_owner_gone(path: &Path) -> bool {
    let Ok(metadata) = fs::metadata(path) else { return false };
    let (device, inode) = (metadata.dev(), metadata.ino());
    let place = format!("{:02x}:{:02x}:{inode}", libc::major(device), libc::minor(device));
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    // 1: FLOCK  ADVISORY  WRITE 4711 08:01:123456 0 EOF
    let owner = locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip_while(|field| *field != "FLOCK").skip(3);
        let owner = fields.next()?;
        (fields.next()? == place).then(|| owner.to_owned())
    });
    let Some(owner) = owner else {
        // Let go between the try and the look.
        return true;
    };
    let status = fs::read_to_string(format!("/proc/{owner}/stat")).unwrap_or_default();
    // The state follows the name, which may hold anything, in parentheses.
    let state = status.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    matches!(state, None | Some('Z' | 'X'))
}

fn explain(error: OpenError, path: &Path) -> Error {
    let path = path.to_owned();
    match error {
        OpenError::Locked => Error::Locked { path },
        OpenError::NotAFile(kind) => Error::NotAShadow { path, found: kind.to_owned() },
        OpenError::Io(op, source) => Error::Io { op, path, source },
    }
}

/// Paths of the shadow files in `dir`, in the order of their stripes.
fn existing_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::Io { op: "list", path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let found = "a file, where `shadow_dir` wants a directory".to_owned();
            return Err(Error::NotAShadow { path: dir.to_owned(), found });
        }
        listed => listed.map_err(failed)?,
    };
    let mut stripes = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let stripe = name.to_str().and_then(|name| {
            let digits = name.strip_prefix("stripe-")?.strip_suffix(".shadow")?;
            digits.parse::<u32>().ok().filter(|stripe| file_name(*stripe) == name)
        });
        stripes.extend(stripe);
    }
    stripes.sort_unstable();
    for (expected, stripe) in (0..).zip(&stripes) {
        if *stripe != expected {
            return Err(Error::ShadowMismatch {
                path: dir.join(file_name(expected)),
                what: "presence",
                expected: "a member of its store".to_owned(),
                found: "no such file".to_owned(),
            });
        }
    }
    Ok(stripes.into_iter().map(|stripe| dir.join(file_name(stripe))).collect())
}

/// What a creation made: taken back unless it is [`kept`](Self::keep).
#[derive(Debug, Default)]
pub struct Created {
    files: Vec<PathBuf>,
    /// Files that were there, and empty.
    grown: Vec<PathBuf>,
    dirs: Vec<PathBuf>,
}

impl Created {
    /// The creation succeeded.
    pub fn keep(mut self) {
        self.files.clear();
        self.grown.clear();
        self.dirs.clear();
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        // Best effort: what cannot be removed was announced by the error that led here.
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        for file in &self.grown {
            let _ = OpenOptions::new().write(true).open(file).and_then(|file| file.set_len(0));
        }
        for dir in self.dirs.iter().rev() {
            let _ = fs::remove_dir(dir);
        }
    }
}

/// Makes every member of a new store `geometry` large; `existing` are those that were opened, and
/// found blank.
pub fn complete(
    shadow: &Shadow,
    mut existing: Vec<ShadowFile>,
    geometry: Geometry,
    direct: bool,
) -> Result<(Vec<ShadowFile>, Created)> {
    let bytes = member_bytes(geometry);
    let mut created = Created::default();
    for file in &existing {
        check_blank(file, bytes)?;
    }
    for file in &existing {
        if !file.is_device() {
            let failed =
                |source| Error::Io { op: "allocate", path: file.path().to_owned(), source };
            if file.bytes().map_err(failed)? == 0 {
                created.grown.push(file.path().to_owned());
            }
            file.allocate(bytes).map_err(failed)?;
        }
    }
    if let Shadow::Dir(dir) = shadow {
        create_dirs(dir, &mut created)?;
        complete_dir(dir, &mut existing, (geometry, direct), &mut created)?;
    }
    Ok((existing, created))
}

/// Creates the members in `dir` that are not among `files`, the first ones.
fn complete_dir(
    dir: &Path,
    files: &mut Vec<ShadowFile>,
    (geometry, direct): (Geometry, bool),
    created: &mut Created,
) -> Result<()> {
    for stripe in (0..geometry.stripes).skip(files.len()) {
        let path = dir.join(file_name(stripe));
        let file = ShadowFile::create(&path, member_bytes(geometry), direct);
        files.push(file.map_err(|error| explain(error, &path))?);
        created.files.push(path);
    }
    Ok(())
}

/// Creates the members of a store `geometry` large in `dir`, where nothing may be. The first one
/// is marked with the superblock `mark` before the others are made, and before it has its size: so
/// what a crash leaves is no new store.
///
/// # Errors
///
/// [`Error::NotEmpty`], [`Error::Io`]. What was created is gone.
pub(super) fn create_marked(
    dir: &Path,
    (geometry, direct): (Geometry, bool),
    mark: &Superblock,
) -> Result<(Vec<ShadowFile>, Created)> {
    check_empty(dir)?;
    let mut created = Created::default();
    create_dirs(dir, &mut created)?;
    let path = dir.join(file_name(0));
    let first = ShadowFile::create(&path, SUPERBLOCK_AREA_BYTES, direct);
    let first = first.map_err(|error| explain(error, &path))?;
    created.files.push(path.clone());
    let failed = |op, source| Error::Io { op, path: path.clone(), source };
    let marked = first.write_at(0, mark.encode().as_slice()).and_then(|()| first.sync());
    marked.map_err(|source| failed("write the superblock of", source))?;
    let allocated = first.allocate(member_bytes(geometry));
    allocated.map_err(|source| failed("allocate", source))?;
    let mut files = vec![first];
    complete_dir(dir, &mut files, (geometry, direct), &mut created)?;
    Ok((files, created))
}

/// Refuses a place where anything is.
fn check_empty(dir: &Path) -> Result<()> {
    let refused = |found| Err(Error::NotEmpty { path: dir.to_owned(), found });
    let failed = |source| Error::Io { op: "list", path: dir.to_owned(), source };
    let mut entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return refused("no directory".to_owned());
        }
        listed => listed.map_err(failed)?,
    };
    let Some(entry) = entries.next() else { return Ok(()) };
    let name = entry.map_err(failed)?.file_name();
    refused(format!("not, with `{}` in it", name.display().to_string().escape_debug()))
}

/// Gives every member of an existing store the space that it may come to use: a copy may have come
/// without the parts that were zero, and the process may be limited to smaller files. A member that
/// was cut short is left as it is.
///
/// # Errors
///
/// The system's, as [`Error::Io`]. What the members hold has not changed.
pub fn reserve(existing: &[ShadowFile], geometry: Geometry) -> Result<()> {
    let bytes = member_bytes(geometry);
    for file in existing.iter().filter(|file| !file.is_device()) {
        let failed = |source| Error::Io { op: "allocate", path: file.path().to_owned(), source };
        if file.bytes().map_err(failed)? >= bytes {
            file.allocate(bytes).map_err(failed)?;
        }
    }
    Ok(())
}

/// A file is new if it is empty or of exactly the size that it is to have; a device if it is
/// large enough.
fn check_blank(file: &ShadowFile, bytes: u64) -> Result<()> {
    let path = || file.path().to_owned();
    let failed = |source| Error::Io { op: "size", path: path(), source };
    let found = file.bytes().map_err(failed)?;
    let fits = if file.is_device() { found >= bytes } else { found == 0 || found == bytes };
    if fits {
        return Ok(());
    }
    if file.is_device() {
        let reason = format!(
            "{} has {found} bytes, and its share of the store takes {bytes}: lower `data_size`",
            path().display()
        );
        return Err(Error::config("data_size", reason));
    }
    let found = format!("{found} bytes without a superblock, where a new shadow has {bytes}");
    Err(Error::NotAShadow { path: path(), found })
}

/// Creates `dir` and what is missing above it, durably: a file whose directory a power cut takes
/// away is lost, whatever was synced in it.
fn create_dirs(dir: &Path, created: &mut Created) -> Result<()> {
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    for path in missing.into_iter().rev() {
        let failed = |source| Error::Io { op: "create", path: path.to_owned(), source };
        fs::create_dir(path).map_err(failed)?;
        created.dirs.push(path.to_owned());
        sync_directory(path).map_err(|source| Error::Io {
            op: "sync the directory of",
            path: path.to_owned(),
            source,
        })?;
    }
    // One that was there may be of a run that ended between the two steps. Best effort: nobody
    // need be allowed to open what lies further up.
    for path in dir.ancestors().filter(|path| path.file_name().is_some()) {
        let _ = sync_directory(path);
    }
    Ok(())
}
