//! The region in models: one atomic for each commit word and one cell for the other bytes of each
//! rblock, so that loom reports an access that no edge orders as a data race, and shuttle one that
//! falls into another.

use crate::sync::{AtomicU64, ModelCell};
use crate::unit::{Geometry, Location, RBLOCK_BYTES};

/// All wblocks.
#[derive(Debug)]
pub struct Region {
    geometry: Geometry,
    commit_words: Vec<AtomicU64>,
    contents: Vec<ModelCell<u64>>,
}

// SAFETY: loom, or the cell itself, checks every access to the cells.
unsafe impl Sync for Region {}

impl Region {
    /// A region of this shape, all zero.
    pub fn model(geometry: Geometry) -> Self {
        let rblocks = u64::from(geometry.wblocks()) * u64::from(geometry.wblock_rblocks());
        Self {
            geometry,
            commit_words: (0..rblocks).map(|_| AtomicU64::new(0)).collect(),
            contents: (0..rblocks).map(|_| ModelCell::new(0)).collect(),
        }
    }

    /// The shape.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(super) fn commit_word(&self, location: Location) -> &AtomicU64 {
        &self.commit_words[location.0 as usize]
    }

    /// Writes the first byte of `bytes` to the cell of each rblock that the range touches.
    ///
    /// # Safety
    ///
    /// 1. As for the real one; the model checks it.
    pub unsafe fn write(&self, location: Location, offset: usize, bytes: &[u8]) {
        let Some(first) = bytes.first() else { return };
        let start = location.0 + (offset / RBLOCK_BYTES as usize) as u64;
        let end = location.0 + ((offset + bytes.len()) as u64).div_ceil(16);
        for rblock in start..end {
            // SAFETY: the property under test: the cell fails the model if it does not hold.
            self.contents[rblock as usize].with_mut(|cell| unsafe { *cell = u64::from(*first) });
        }
    }

    /// Reads the cell of each of `rblocks` rblocks: the values, for a model to judge.
    pub fn read(&self, location: Location, rblocks: u32) -> Vec<u64> {
        (location.0..location.0 + u64::from(rblocks))
            // SAFETY: the property under test.
            .map(|rblock| self.contents[rblock as usize].with(|cell| unsafe { *cell }))
            .collect()
    }
}
