//! The engines that are compared, all behind one trait.
//!
//! A peer is used as its documentation says, with what makes it fast: capacity reserved up front,
//! one fast hash (`foldhash`) for all maps, keys inline as `[u8; 16]`, no copy of a value on a read
//! where its API allows that. Values are `Box<[u8]>`; caches that hand out clones get `Arc<[u8]>`.
//! An update puts a new value, as a user does who has one; with `Setup::in_place` the maps that
//! lend out a `&mut` overwrite the bytes instead.

mod brindle;
mod caches;
mod fjall;
mod lmdb;
mod maps;
mod null;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocks;
mod sled;

use crate::work::{Plan, Tally, run};
use std::path::{Path, PathBuf};

/// Bytes of every key.
pub const KEY_BYTES: usize = 16;
/// A key.
pub type Key = [u8; KEY_BYTES];

/// What an engine is opened for.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what a run is asked for")]
pub struct Setup {
    /// The most records that live at a time.
    pub records: u64,
    /// Bytes of the largest value.
    pub value_bytes: usize,
    /// Brindle's memory for records, as a multiple of what the records take.
    pub room: f64,
    /// Whether capacity is reserved up front where an engine can do that. Brindle's index grows.
    pub presize: bool,
    /// Whether maps overwrite a value in place.
    pub in_place: bool,
    /// Whether Brindle's shadow goes past the page cache.
    pub direct: bool,
    /// Whether every put returns only when it is durable.
    pub durable: bool,
    /// Where engines that persist keep their files; each has a folder of its own there.
    pub dir: PathBuf,
}

impl Setup {
    fn capacity(&self) -> usize {
        if self.presize { usize::try_from(self.records).unwrap_or(0) } else { 0 }
    }

    /// The folder of engine `name`.
    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.dir.join(name);
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        folder
    }
}

/// What an engine does. It panics when it fails: a figure of a run with errors means nothing.
pub trait Engine: Send + Sync + 'static {
    /// Reads the value of `key` as [`read`] does; `None`: not there.
    fn get(&self, key: &Key) -> Option<u64>;

    /// Puts a value, new or not.
    fn put(&self, key: &Key, value: &[u8]);

    /// Deletes `key`, there or not.
    fn delete(&self, key: &Key);

    /// Gets of all `keys` under one pin, guard or transaction; how many were there.
    fn get_pinned(&self, keys: &[Key]) -> u64 {
        self.get_many(keys)
    }

    /// Gets of all `keys` in one call, where there is one; how many were there.
    fn get_many(&self, keys: &[Key]) -> u64 {
        keys.iter().map(|key| u64::from(self.get(key).is_some())).sum()
    }

    /// Puts of all `keys` in one call, where there is one.
    fn put_many(&self, keys: &[Key], value: &[u8]) {
        for key in keys {
            self.put(key, value);
        }
    }

    /// Does what is left to do behind the caller's back, so that the next engine's turn is its own.
    fn settle(&self) {}

    /// Makes all durable that was put. Called once a second where the engine does not do it itself,
    /// so that all lose at most a second.
    fn sync(&self) {}

    /// Memory that is reserved, touched, and free for more records. Unit: bytes.
    fn spare_bytes(&self) -> u64 {
        0
    }

    /// Bytes that were moved to get space back, so far.
    fn moved_bytes(&self) -> u64 {
        0
    }
}

/// An engine of any kind; inside, all calls are static.
pub trait Target: Send + Sync {
    /// Does all that `plan` says.
    fn run(&self, plan: &Plan) -> Tally;
    /// [`Engine::get`], through a table of functions: for what takes far longer than that.
    fn get(&self, key: &Key) -> Option<u64>;
    /// [`Engine::put`], likewise.
    fn put(&self, key: &Key, value: &[u8]);
    /// See [`Engine::settle`].
    fn settle(&self);
    /// See [`Engine::sync`].
    fn sync(&self);
    /// See [`Engine::spare_bytes`].
    fn spare_bytes(&self) -> u64;
    /// See [`Engine::moved_bytes`].
    fn moved_bytes(&self) -> u64;
}

impl<E: Engine> Target for E {
    fn run(&self, plan: &Plan) -> Tally {
        run(self, plan)
    }

    fn get(&self, key: &Key) -> Option<u64> {
        Engine::get(self, key)
    }

    fn put(&self, key: &Key, value: &[u8]) {
        Engine::put(self, key, value);
    }

    fn settle(&self) {
        Engine::settle(self);
    }

    fn sync(&self) {
        Engine::sync(self);
    }

    fn spare_bytes(&self) -> u64 {
        Engine::spare_bytes(self)
    }

    fn moved_bytes(&self) -> u64 {
        Engine::moved_bytes(self)
    }
}

/// Brindle with its shadow on.
pub const SUBJECT: &str = "brindle";
/// Brindle in memory only.
pub const SUBJECT_IN_MEMORY: &str = "brindle-mem";
/// A store that does nothing: the machine's own share.
pub const NULL: &str = "null";
/// Peers in memory.
pub const IN_MEMORY: [&str; 7] =
    ["dashmap", "std-sharded", "papaya", "scc", "quick_cache", "foyer", "moka"];
/// Peers that persist.
#[cfg(not(feature = "rocksdb"))]
pub const PERSISTENT: &[&str] = &["fjall", "redb", "sled", "heed"];
/// Peers that persist.
#[cfg(feature = "rocksdb")]
pub const PERSISTENT: &[&str] = &["fjall", "redb", "sled", "heed", "rocksdb"];

/// Opens the engine `name`. What it persisted before is still there.
///
/// # Panics
///
/// If there is none of that name, or it does not open.
pub fn open(name: &str, setup: &Setup) -> Box<dyn Target> {
    match name {
        SUBJECT => Box::new(brindle::Brindle::open(setup, Some(&setup.folder(name)))),
        SUBJECT_IN_MEMORY => Box::new(brindle::Brindle::open(setup, None)),
        NULL => Box::new(null::Null),
        "dashmap" => Box::new(maps::Dash::open(setup)),
        "std-sharded" => Box::new(maps::Sharded::open(setup)),
        "papaya" => Box::new(maps::Papaya::open(setup)),
        "scc" => Box::new(maps::Scc::open(setup)),
        "quick_cache" => Box::new(caches::Quick::open(setup)),
        "foyer" => Box::new(caches::Foyer::open(setup)),
        "moka" => Box::new(caches::Moka::open(setup)),
        "fjall" => Box::new(fjall::Fjall::open(setup, &setup.folder(name))),
        "redb" => Box::new(redb::Redb::open(setup, &setup.folder(name))),
        "sled" => Box::new(sled::Sled::open(setup, &setup.folder(name))),
        "heed" => Box::new(lmdb::Lmdb::open(setup, &setup.folder(name))),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => Box::new(rocks::Rocks::open(setup, &setup.folder(name))),
        _ => panic!("no engine `{name}`; there are {:?}", names()),
    }
}

/// The names of all engines.
pub fn names() -> Vec<&'static str> {
    let subjects = [SUBJECT, SUBJECT_IN_MEMORY, NULL].into_iter();
    subjects.chain(IN_MEMORY).chain(PERSISTENT.iter().copied()).collect()
}

/// Removes what the engine `name` has persisted.
pub fn forget(name: &str, dir: &Path) {
    let folder = dir.join(name);
    if folder.exists() {
        std::fs::remove_dir_all(folder).expect("the folder is ours");
    }
}

/// Reads a byte of every cache line of `value`, and its last. One function for all, out of line, as
/// in the benches of the engine alone.
#[inline(never)]
pub fn read(value: &[u8]) -> u64 {
    let lines = value.iter().step_by(64).fold(0, |sum, byte| sum + u64::from(*byte));
    lines + value.last().map_or(0, |byte| u64::from(*byte))
}
