//! Brindle: an embedded storage engine. Records live in preallocated memory, are read in place
//! without a lock or a copy, and survive a restart, because every write block is mirrored in a
//! *shadow*: a file or a raw block device.
//!
//! ```
//! use brindle::{Config, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! # let data = scratch.path().join("data");
//! let config = Config::new().data_size(64 << 20).shadow_dir(&data);
//! let store = Store::open(config.clone())?;
//! store.put("user:1", "Ada")?;
//! store.flush()?; // from here on, neither kill -9 nor a power cut takes it away
//! store.close()?;
//!
//! let store = Store::open(config)?;
//! let name = store.get("user:1").expect("it survived");
//! assert_eq!(&*name, b"Ada"); // the bytes in the store, not a copy
//! # Ok(())
//! # }
//! ```
//!
//! # Trade-offs
//!
//! What you pay, before what you get:
//!
//! - **All of it is in memory.** `data_size` bytes are taken at open and stay the same; on top
//!   comes the index, some 15 bytes a record from a million records on, and at least 2 MiB. Of
//!   `data_size` a record takes 28 bytes of header (36 if it expires), then key and value, up to
//!   whole 16 bytes. The shadow takes as many bytes on disk, also at once.
//! - **A full log is rewritten.** What was overwritten, deleted or has expired comes back: a thread
//!   moves the live records out of wblocks that are mostly dead. At half full that costs a quarter
//!   of a copy for each put, at three quarters one and a third, at 90% some five; then a put may
//!   wait for it, up to `overload_wait`. Above `stop_writes_used_pct` puts are refused, deletes
//!   never; with `evict_used_pct` the store evicts instead, and is a cache.
//! - **Keys have no order.** There are no ranges and no prefixes, only [`Store::scan`] over all.
//! - **One key at a time.** An operation on a key is atomic; there are no transactions over
//!   several.
//! - **Durable is a word of its own.** By default a put is visible at once and durable within
//!   `flush_max_ms`, one second. To wait for it costs a sync of the disk, shared by all who wait.
//! - **A record in hand pins its thread.** Keep a [`Record`] for microseconds; take
//!   [`into_owned`](Record::into_owned) to keep it longer or to cross an `await`.
//! - **One process.** The shadow is locked while the store is open.
//!
//! # A tour
//!
//! ## Open, put, get
//!
//! Without a shadow the store ends with the process. Keys are 1 to 65,535 bytes, values may be
//! empty; a record, which is header, key and value, has at most `max_record_size`. Anything that is
//! `AsRef<[u8]>` will do for both.
//!
//! ```
//! use brindle::{Config, Store};
//!
//! # fn main() -> brindle::Result<()> {
//! let store = Store::open(Config::new().data_size(64 << 20))?;
//! let first = store.put("user:1", "Ada")?;
//! let second = store.put("user:1", b"Ada Lovelace")?;
//! assert!(second > first, "versions of a key only grow");
//!
//! let record = store.get("user:1").expect("it was put");
//! assert_eq!(record.value(), b"Ada Lovelace");
//! assert_eq!(record.version(), second);
//! drop(record); // the thread is pinned no longer
//!
//! assert!(store.delete("user:1")?, "a live record was there");
//! assert!(store.get("user:1").is_none());
//! # Ok(())
//! # }
//! ```
//!
//! A [`Store`] is a handle: clone it for each thread. The last clone dropped closes the store.
//!
//! ```
//! # use brindle::{Config, Store};
//! # fn main() -> brindle::Result<()> {
//! # let store = Store::open(Config::new().data_size(64 << 20))?;
//! std::thread::scope(|scope| {
//!     for thread in 0..4u64 {
//!         let store = store.clone();
//!         scope.spawn(move || store.put(thread.to_le_bytes(), "here"));
//!     }
//! });
//! assert_eq!(store.len(), 4);
//! # Ok(())
//! # }
//! ```
//!
//! ## Times to live and conditions
//!
//! [`PutOptions`] and [`DeleteOptions`] say what goes beyond a key and a value. To [`Store::get`],
//! conditions, updates and deletes, what is absent, deleted or expired is one and the same.
//!
//! ```
//! use brindle::{Condition, Config, Error, PutOptions, Store};
//! use std::time::Duration;
//!
//! # fn main() -> brindle::Result<()> {
//! # let store = Store::open(Config::new().data_size(64 << 20))?;
//! // A lock that frees itself: taken if nobody has it, for ten seconds.
//! let lease = PutOptions::new().condition(Condition::IfAbsent).ttl(Duration::from_secs(10));
//! let mine = store.put_with("lock:job", "worker-7", &lease)?;
//! let theirs = store.put_with("lock:job", "worker-8", &lease);
//! assert!(matches!(theirs, Err(Error::ConditionFailed)));
//!
//! // Extended only if it is still the one that was taken.
//! let extend = lease.condition(Condition::IfVersion(mine));
//! store.put_with("lock:job", "worker-7", &extend)?;
//! # Ok(())
//! # }
//! ```
//!
//! ## Read, modify, write
//!
//! ```
//! # use brindle::{Config, Store};
//! # fn main() -> brindle::Result<()> {
//! # let store = Store::open(Config::new().data_size(64 << 20))?;
//! let add_one = |old: Option<&[u8]>| {
//!     let count = old.and_then(|old| old.try_into().ok()).map_or(0, u64::from_le_bytes);
//!     Some((count + 1).to_le_bytes().to_vec()) // `None` would delete the key
//! };
//! store.update("visits", add_one)?;
//! store.update("visits", add_one)?;
//! assert_eq!(*store.get("visits").expect("two visits"), 2u64.to_le_bytes());
//! # Ok(())
//! # }
//! ```
//!
//! No other write of the key comes between reading and writing; the closure may run again if one
//! did. It must not call the store.
//!
//! ## Many at once
//!
//! A get costs two cache misses and a pin. [`Store::pin`] pays for one pin and serves many gets;
//! [`Store::get_many`] lets the misses of many keys overlap, which is several times faster on a
//! store larger than the cache.
//!
//! ```
//! # use brindle::{Config, Store};
//! # fn main() -> brindle::Result<()> {
//! # let store = Store::open(Config::new().data_size(64 << 20))?;
//! store.put_many([("a", "1"), ("b", "2"), ("c", "3")])?;
//!
//! let pin = store.pin();
//! assert!(pin.get("a").is_some() && pin.contains_key("b"));
//! drop(pin); // as short as a record: while it lives, memory waits for it
//!
//! let found = store.get_many(&["c", "nowhere", "a"]);
//! let values: Vec<Option<&[u8]>> = found.iter().map(Option::as_deref).collect();
//! assert_eq!(values, [Some(&b"3"[..]), None, Some(&b"1"[..])]);
//!
//! let mut keys: Vec<Vec<u8>> = store.scan().map(|record| record.key().to_vec()).collect();
//! keys.sort();
//! assert_eq!(keys, [b"a", b"b", b"c"]);
//! # Ok(())
//! # }
//! ```
//!
//! [`Scan`] says what it sees of writes that go on meanwhile.
//!
//! ## When it must not be lost
//!
//! ```
//! use brindle::{Config, PutOptions, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! # let data = scratch.path().join("data");
//! let store = Store::open(Config::new().data_size(64 << 20).shadow_dir(&data))?;
//! let durable = PutOptions::new().durable(true);
//! store.put_with("order:1", "paid", &durable)?; // on the disk when this returns
//!
//! store.put("order:2", "paid")?;
//! store.put("order:3", "paid")?;
//! store.flush()?; // both, with one sync
//! # Ok(())
//! # }
//! ```
//!
//! `Config::commit_to_device(true)` makes every write wait; those that wait at the same time share
//! a sync. [`Store::snapshot`] writes a copy of the running store to another place, a store of its
//! own.
//!
//! ## How it is
//!
//! ```
//! # use brindle::{Config, Health, Store};
//! # fn main() -> brindle::Result<()> {
//! # let store = Store::open(Config::new().data_size(64 << 20))?;
//! # store.put("a", "1")?;
//! let stats = store.stats();
//! assert_eq!(stats.records, 1);
//! assert!(stats.live_bytes < stats.data_size_bytes);
//! assert!(stats.free_wblocks > 0, "room for more");
//! assert_eq!(store.health(), Health::Ok);
//! # Ok(())
//! # }
//! ```
//!
//! Watch `free_wblocks`, what is left until [`Error::OutOfSpace`], and `oldest_pin_ms`, which shows
//! a reader that forgot a record.
//!
//! # Consistency
//!
//! - A reader sees a whole record, as one put wrote it, or none.
//! - The operations on one key behave as if done one at a time, in an order that agrees with real
//!   time (linearizable). Versions of a key only grow; reads never go back.
//! - Of two records of a key the same one wins everywhere, whatever the order of arrival: the
//!   higher [`Version`]; at equal versions a delete over a value, then the later expiry, then the
//!   greater value. A writer with an order of its own (a replica, a replay) brings its versions
//!   along, and is told by [`Error::VersionConflict`] where it loses.
//! - No thread waits for another one on get, put or delete: there is no lock, and apart from a new
//!   wblock or the growth of the index no allocation and no system call either.
//!
//! # Durability
//!
//! A *flush* writes what is committed to the shadow and syncs it. It happens within `flush_max_ms`
//! of a put, when [`Store::flush`], a durable write or [`Store::close`] asks for it, and when a
//! wblock is full. After a crash or a power cut each key reads as its newest durable version, or as
//! a newer one that had been put: whole, never older, never a mixture.
//!
//! At open every record is verified by checksum (reads do not verify again). A *torn* one, in the
//! last flush of a wblock of a run that crashed, was never durable and is left out, and counted.
//! A *rotten* one was: it is left out, counted in [`Stats`] and told by [`Store::health`], and no
//! older copy of its key comes back as if it were current. [`OnDamage::Refuse`] does not open such
//! a store.
//!
//! A wblock that could not be read is given up: the first flush of the run that reports it strikes
//! it out, so that nothing of it comes back should the device read it rightly another time.
//!
//! Of a device that acknowledges what it does not do: what is read was put under that key, whatever
//! it does. What one write that was lost or went astray has cost is counted at the next open, if
//! the store was closed in order in between. After a crash nobody can know: what a sync
//! acknowledged falsely may be gone, and what was deleted with it back (`tests/faults.rs`).
//!
//! After a write or sync that failed, all since the last good sync is written again from memory,
//! and nothing is acknowledged until a sync has succeeded behind that. While it does not succeed,
//! [`Store::health`] is [`Health::ShadowFailed`], writes are refused with the cause, and reads go
//! on; the engine goes on trying, and [`Store::reattach_shadow`] moves the whole store to another
//! place, without a restart. A device that does not answer at all holds up nobody but who asked for
//! durability, and `flush_deadline` and `close_deadline` bound that. Right after a crash the kernel
//! may hold the dead process's lock for some tenths of a second: the next open waits for it, 2 s at
//! most.
//!
//! Time does not step within a run, whatever is done to the machine's clock. A run starts no
//! earlier than the last one was opened or closed, or began its last wblock.
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | region | the one range of memory that holds every wblock |
//! | wblock | write block: 8 MiB of the region, or less; what is filled and sealed as a unit |
//! | rblock | 16 bytes: records start on, and are sized in, rblocks |
//! | record | header, key and value; never changed once committed |
//! | stripe | one core's share: the wblock it fills, and one file or device of the shadow |
//! | version | when a record was written: microseconds since 1970, above what it replaced |
//! | tombstone | a record that says: this key was deleted at this version |
//! | shadow | the files or devices that mirror the stripes, wblock by wblock at fixed places |
//! | flush | taking what is committed to the shadow; *durable* is what a completed flush covers |
//! | cold start | rebuilding the index from the shadow at open |
//! | pin | what keeps the memory that a thread looks at from being reused |
//!
//! # Rooms
//!
//! A room uses only those below it; `tests/tidy.rs` holds the source to that.
//!
//! | room in `src/` | what |
//! |---|---|
//! | `store/` | this API |
//! | `upkeep/` | records by key; cold start; the thread that looks after clock and pins |
//! | `index/` | from the hash of a key to its record, lock-free, grown a segment at a time |
//! | `shadow/` | flusher, barriers, superblocks; `io/`: `io_uring`, `pwrite`, a simulated disk |
//! | `region/` | the memory, its wblocks and stripes |
//! | [`format`](mod@format) | bytes on the shadow; pure, and told once in `src/format/FORMAT.md` |
//! | `config/`, `error.rs` | keys and their rules; the one error |
//! | `clock.rs`, `unit.rs`, `sync/` | time; units as types; atomics, or a model's |
//! | `planted.rs` | mistakes that can be put back in, to test the tests |
//!
//! # Features
//!
//! - `serde`: `Config::from_toml`, and `Deserialize` for [`Config`], with sizes and durations as
//!   strings (`"64MiB"`, `"1s"`).
//! - `metrics`: `Store::publish_metrics` for the facade of that name, `Store::sample_latencies`.
//! - `top`: `Store::publish_top`, for the command `brindle top`; `Store::sample_latencies`.
//! - `tracing`: events of the store's life for subscribers of that crate.
//! - `testing`: a simulated disk, a clock that tests turn, a shadow that tests pump. Not covered by
//!   semantic versioning.
//! - `planted-bugs`: for the tests of this crate alone: puts a known mistake back in, which
//!   `BRINDLE_PLANT` names. Never for use.
//!
//! # Platform
//!
//! Linux on a little-endian machine; Rust 1.89. `io_uring` is used where it is allowed; elsewhere
//! `pwrite` does the same, and `Stats::ring_refused` says why. Huge pages are asked for, and done
//! without where there are none. After a fork the store belongs to the parent: in the child writes
//! fail with [`Error::Forked`] and reads panic.

/// A room inside the crate; the models, crates of their own, look into it.
macro_rules! rooms {
    ($($(#[$about:meta])* $room:ident),* $(,)?) => { $(
        #[cfg(any(loom, shuttle))]
        $(#[$about])*
        pub mod $room;
        #[cfg(not(any(loom, shuttle)))]
        $(#[$about])*
        mod $room;
    )* };
}

#[cfg(not(any(loom, shuttle)))]
mod clock;
#[cfg(not(any(loom, shuttle)))]
mod config;
mod error;
pub mod format;
#[cfg(not(any(loom, shuttle)))]
mod store;
#[cfg(all(feature = "testing", not(any(loom, shuttle))))]
pub mod testing;
#[cfg(not(any(loom, shuttle)))]
mod trace;
#[cfg(not(any(loom, shuttle)))]
mod upkeep;
rooms! { planted, sync, unit, region, index, shadow }

#[cfg(not(any(loom, shuttle)))]
pub use config::{Config, HugePages, OnDamage, Progress};
pub use error::{Error, Result};
pub use format::RECORD_HEADER_BYTES_MAX;
#[cfg(not(any(loom, shuttle)))]
pub use shadow::io::IoCounts;
#[cfg(all(feature = "metrics", not(any(loom, shuttle))))]
pub use store::metrics::{METRICS, Metric};
#[cfg(all(feature = "top", not(any(loom, shuttle))))]
pub use store::top::TOP_VERSION;
#[cfg(not(any(loom, shuttle)))]
pub use store::{
    Binding, Condition, DeleteOptions, Health, OwnedRecord, Pin, PutOptions, Record, Scan,
    SnapshotOptions, SnapshotReport, Stats, Store, WblockCounts,
};
pub use unit::Version;
#[cfg(not(any(loom, shuttle)))]
pub use upkeep::{Audit, LoadReport, ReclaimStats, Rejected, Runway};

/// The example of the README, which has to compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The recipes for operators, which have to work.
#[cfg(doctest)]
#[doc = include_str!("../docs/operating.md")]
struct Operating;
