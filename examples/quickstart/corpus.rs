//! Which files are stored: those of the crates that this build depends on, or those below a folder.
//!
//! cargo has unpacked the crates in its registry folder to compile them, so they are on every
//! machine that could build this example, and a few thousand real files they are.

use crate::Outcome;
use brindle::RECORD_HEADER_BYTES_MAX;
use brindle::format::{WBLOCK_BYTES_MAX, WBLOCK_HEADER_BYTES};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Header, key and value of the largest record there can be: one wblock's room.
pub const RECORD_BYTES_MAX: u64 = (WBLOCK_BYTES_MAX - WBLOCK_HEADER_BYTES) as u64;

/// No more than this is stored, however large the folder is.
const CORPUS_BYTES_MAX: u64 = 4 << 30;

/// The files to store.
pub struct Corpus {
    /// Where they are from, in words.
    pub origin: String,
    pub files: Vec<File>,
    pub skipped: Vec<Skipped>,
    /// Files that would go past the limit, and that limit.
    pub beyond: u64,
    pub bytes_max: u64,
}

/// One file: a record is its key and its contents.
pub struct File {
    /// The path, without the part that all files share.
    pub key: Vec<u8>,
    pub path: PathBuf,
    /// As the folder says: the file may have grown when it is read.
    pub bytes: u64,
}

/// A file that is not stored.
pub struct Skipped {
    pub path: PathBuf,
    pub why: String,
}

impl Corpus {
    /// The files below `folder`; without one, those of the crates that this build depends on.
    pub fn find(folder: Option<&Path>) -> Outcome<Self> {
        let mut corpus = Self {
            origin: String::new(),
            files: Vec::new(),
            skipped: Vec::new(),
            beyond: 0,
            bytes_max: bytes_max(),
        };
        if let Some(folder) = folder {
            corpus.add_tree(folder, folder)?;
            corpus.origin = format!("below {}", folder.display());
        } else {
            corpus.add_dependencies()?;
        }
        if corpus.files.is_empty() {
            return Err(format!("there is no file {}: name another folder", corpus.origin).into());
        }
        corpus.cut();
        Ok(corpus)
    }

    /// Bytes of all values, as the folders said.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Bytes that the records take in memory at most: header, key, value, and the end of a wblock
    /// that the next record did not fit into, which counts for large ones.
    pub fn stored_bytes(&self) -> u64 {
        let large = u64::from(WBLOCK_BYTES_MAX / 16);
        let record = |file: &File| {
            let bytes = stored_bytes(&file.key, file.bytes).next_multiple_of(16);
            if bytes > large { bytes * 2 } else { bytes }
        };
        self.files.iter().map(record).sum()
    }

    fn add_dependencies(&mut self) -> Outcome<()> {
        let (registries, crates) = (registries()?, dependencies());
        let mut found = 0u64;
        for name in &crates {
            let Some(home) = registries.iter().find(|home| home.join(name).is_dir()) else {
                continue;
            };
            self.add_tree(home, &home.join(name))?;
            found += 1;
        }
        self.origin = format!("of the {found} crates that this build depends on");
        if found == 0 {
            // Vendored, or run without cargo: this workspace is always there.
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR"));
            self.add_tree(workspace, workspace)?;
            self.origin = "of this workspace (cargo's registry has none of our crates)".into();
        }
        Ok(())
    }

    /// Adds all files below `folder`, by their paths relative to `base`.
    fn add_tree(&mut self, base: &Path, folder: &Path) -> Outcome<()> {
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if folder == base => {
                    return Err(format!("cannot list {}: {error}", folder.display()).into());
                }
                Err(error) => {
                    self.skip(folder, error.to_string());
                    continue;
                }
            };
            for entry in entries {
                self.add_entry(base, &entry?, &mut folders)?;
            }
        }
        Ok(())
    }

    /// Adds a file, or notes a folder to be looked into. A link is neither.
    fn add_entry(
        &mut self,
        base: &Path,
        entry: &fs::DirEntry,
        folders: &mut Vec<PathBuf>,
    ) -> Outcome<()> {
        let kind = entry.file_type()?;
        if kind.is_dir() && is_source(&entry.path()) {
            folders.push(entry.path());
        }
        if kind.is_file() {
            self.add_file(base, entry.path());
        }
        Ok(())
    }

    fn add_file(&mut self, base: &Path, path: PathBuf) {
        let bytes = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) => return self.skip(path, error.to_string()),
        };
        let key = path.strip_prefix(base).unwrap_or(&path).as_os_str().as_bytes().to_vec();
        match why_not(&key, bytes) {
            Some(why) => self.skip(path, why),
            None => self.files.push(File { key, path, bytes }),
        }
    }

    pub fn skip(&mut self, path: PathBuf, why: impl Into<String>) {
        self.skipped.push(Skipped { path, why: why.into() });
    }

    /// In order, and not more than this machine can hold.
    fn cut(&mut self) {
        self.files.sort_by(|a, b| a.key.cmp(&b.key));
        let mut bytes = 0;
        let fits = |file: &File| {
            bytes += file.bytes;
            bytes <= self.bytes_max
        };
        let taken = self.files.iter().map(fits).take_while(|fits| *fits).count();
        self.beyond = (self.files.len() - taken) as u64;
        self.files.truncate(taken);
    }
}

/// Why a file of so many bytes cannot be a record.
pub fn why_not(key: &[u8], bytes: u64) -> Option<String> {
    if stored_bytes(key, bytes) > RECORD_BYTES_MAX {
        return Some(format!("{} is more than a record holds", crate::show::size(bytes)));
    }
    (key.len() > usize::from(u16::MAX)).then(|| "the path is longer than a key".to_owned())
}

fn stored_bytes(key: &[u8], bytes: u64) -> u64 {
    (RECORD_HEADER_BYTES_MAX + key.len()) as u64 + bytes
}

/// False for what is no source: git's own, and what its maker has tagged as a cache.
fn is_source(folder: &Path) -> bool {
    !folder.ends_with(".git") && !folder.join("CACHEDIR.TAG").exists()
}

/// A sixth of the free memory: the store takes two and a half times the files, and a machine has
/// other things to do.
fn bytes_max() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = available.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map_or(CORPUS_BYTES_MAX, |kib| (kib * 1024 / 6).min(CORPUS_BYTES_MAX))
}

/// Folders into which cargo unpacks crates, one for each registry.
fn registries() -> Outcome<Vec<PathBuf>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let Some(unpacked) = home.map(|home| home.join("registry/src")).filter(|path| path.is_dir())
    else {
        return Ok(Vec::new());
    };
    let mut folders = Vec::new();
    for entry in fs::read_dir(unpacked)? {
        folders.push(entry?.path());
    }
    folders.sort();
    Ok(folders)
}

/// Names of the crates that this build depends on, as cargo names their folders: `libc-0.2.191`.
/// Empty where there is no cargo to ask.
fn dependencies() -> BTreeSet<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let tree = Command::new(cargo)
        .args(["tree", "--offline", "--package", "brindle", "--edges", "normal,build,dev"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let text = tree.map(|tree| tree.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let names = text.lines().filter_map(|line| {
        let (name, version) = line.split_once(" v")?;
        Some(format!("{name}-{}", version.split_whitespace().next()?))
    });
    names.collect()
}
