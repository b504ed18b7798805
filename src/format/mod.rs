//! Bytes on the shadow: what each one means, how it is written, how it is judged when read.
//!
//! This room is pure: it does no I/O, holds no state, names no atomic and has no `unsafe`, so that
//! the command-line tool can read with it what the engine refuses. `FORMAT.md` beside this file
//! tells the layout once; the code asserts it at compile time, and `tests/golden/` byte for byte.
//!
//! | file            | describes                                                              |
//! |-----------------|------------------------------------------------------------------------|
//! | `key.rs`        | store id, store key, and the seed that ties a checksum to its place     |
//! | `commit.rs`     | the commit word: "complete", and "of this life of the wblock"           |
//! | `record.rs`     | a record as it is written: shape, flags, head, checks                   |
//! | `view.rs`       | a record as it is read, from bytes that nobody vouches for              |
//! | `precedence.rs` | which of two records of a key wins (invariant 3)                        |
//! | `padding.rs`    | what fills a flush up to its sector, and tells flushes apart            |
//! | `header.rs`     | the head of a wblock                                                   |
//! | `superblock.rs` | the head of a shadow, and the choice between its two copies             |
//! | `census.rs`     | how each wblock stood when the store was last closed in order           |
//! | `scan.rs`       | the walk over one wblock: what is whole, what is torn, what is rotten   |
//! | `mend.rs`       | a wblock as memory has it, made ready for another shadow                |
//!
//! Invariants
//! - F1  Any flipped bit of a record, a padding's head, a wblock header or a superblock copy is
//!   detected (up to a collision of the 32 or 64 bits of its checksum).
//! - F2  Bytes that were written elsewhere (another store, wblock, life or rblock) never verify.
//! - F3  No input makes a function of this room panic, loop, or read out of bounds, and none makes
//!   a scan take more than a small multiple of the time of an undamaged one.
//!
//! Checked by: `tests/format_props.rs` (F1, F2, F3), `tests/format_scan.rs` (torn and rotten;
//! and, against `tests/golden/`, the bytes themselves).
#![forbid(unsafe_code)]

mod census;
mod commit;
mod header;
mod key;
mod mend;
mod padding;
mod precedence;
mod record;
mod scan;
mod superblock;
mod view;

pub use census::{CENSUS_WBLOCKS, Census, CensusTag, Counted};
pub use commit::{CommitWord, RECORD_RBLOCKS_MAX, SEQUENCE_BITS};
pub use header::{HeaderState, WblockHeader, WblockHome};
pub use key::{Seed, StoreId, StoreKey};
pub use mend::mend;
pub use padding::{FLUSHES_MAX, PADDING_HEAD_BYTES, Padding};
pub use precedence::{Rank, precedence};
pub use record::{
    Checks, Flags, RECORD_HEADER_BYTES, RECORD_HEADER_BYTES_MAX, RecordHead, Shape, encode_head,
};
pub use scan::{Damage, DamageCause, DamageKind, WblockPlace, WblockScan, scan_wblock};
pub use superblock::{
    CopyError, CopyName, DamagedCopy, FORMAT_VERSION, Found, SUPERBLOCK_AREA_BYTES,
    SUPERBLOCK_BYTES, SUPERBLOCK_COPY_B_OFFSET, Superblock, choose, cut_mark,
};
pub use view::{RecordView, Verdict};

pub use crate::unit::{
    Geometry, Location, RBLOCK_BYTES, SECTOR_BYTES, SECTOR_RBLOCKS, Sequence, Version,
    WBLOCK_BYTES_MAX, WBLOCK_BYTES_MIN, WBLOCK_HEADER_BYTES, WBLOCK_HEADER_RBLOCKS, WblockId,
};
