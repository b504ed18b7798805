//! What the tests of the whole store share: small shapes, a disk that fits them, random numbers.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test is a crate of its own and uses a part of this file"
)]

use brindle::testing::{SimConfig, SimDisk, member_bytes};
use brindle::{Config, HugePages};

/// The smallest wblock: the same code as the largest, 1/128 of the work.
pub const WBLOCK_BYTES: u32 = 64 << 10;

/// A small store in memory, cheap to open.
pub fn config(stripes: u32, wblocks_per_stripe: u32) -> Config {
    let wblocks = u64::from(stripes * wblocks_per_stripe);
    Config::new()
        .data_size(wblocks * u64::from(WBLOCK_BYTES))
        .wblock_size(WBLOCK_BYTES.into())
        .stripes(stripes as usize)
        .huge_pages(HugePages::Off)
        .prefault(false)
        .pin_cores(false)
}

/// A disk of zeros for the shadow of such a store.
pub fn disk(stripes: u32, wblocks_per_stripe: u32) -> SimDisk {
    let geometry =
        brindle::format::Geometry { wblock_bytes: WBLOCK_BYTES, stripes, wblocks_per_stripe };
    let file_bytes = usize::try_from(member_bytes(geometry)).expect("a small disk");
    SimDisk::new(SimConfig { files: stripes, file_bytes, ..SimConfig::default() })
}

/// Numbers from a seed, the same for ever (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next().to_le_bytes());
        words.flatten().take(count).collect()
    }
}
