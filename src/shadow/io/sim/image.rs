//! The contents of one simulated file, in chunks that its copies share until one is written to:
//! a copy costs a counter for each chunk, so that a crash costs what it changed and no more.
#![forbid(unsafe_code)]

use crate::sync::Arc;

const CHUNK_BYTES: usize = 4096;

type Chunk = [u8; CHUNK_BYTES];

/// The bytes of a file; those of its last chunk behind its end are zero.
#[derive(Clone, Debug)]
pub(super) struct Image {
    chunks: Vec<Arc<Chunk>>,
    bytes: usize,
}

impl From<&[u8]> for Image {
    fn from(bytes: &[u8]) -> Self {
        let mut image = Self::zeros(bytes.len());
        for (number, part) in bytes.chunks(CHUNK_BYTES).enumerate() {
            if part.iter().any(|byte| *byte != 0) {
                image.store(number * CHUNK_BYTES, part);
            }
        }
        image
    }
}

impl Image {
    /// A file of `bytes` zeros.
    pub(super) fn zeros(bytes: usize) -> Self {
        let zero = Arc::new([0; CHUNK_BYTES]);
        Self { chunks: vec![zero; bytes.div_ceil(CHUNK_BYTES)], bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.chunks.len() * CHUNK_BYTES);
        self.chunks.iter().for_each(|chunk| bytes.extend_from_slice(&chunk[..]));
        bytes.truncate(self.bytes);
        bytes
    }

    /// Fills `into` from byte `offset` on, as far as the file goes; returns how far that is.
    pub(super) fn read(&self, offset: usize, into: &mut [u8]) -> usize {
        let count = self.bytes.saturating_sub(offset).min(into.len());
        let mut done = 0;
        while done < count {
            let (number, from) = place(offset + done);
            let until = CHUNK_BYTES.min(from + count - done);
            let source = self.chunks.get(number).and_then(|chunk| chunk.get(from..until));
            let target = into.get_mut(done..done + until - from);
            if let (Some(target), Some(source)) = (target, source) {
                target.copy_from_slice(source);
            }
            done += until - from;
        }
        count
    }

    /// Puts `bytes` at `offset`; the file grows as files do.
    pub(super) fn store(&mut self, offset: usize, bytes: &[u8]) {
        self.resize(self.bytes.max(offset + bytes.len()));
        let mut done = 0;
        while done < bytes.len() {
            let (number, from) = place(offset + done);
            let until = CHUNK_BYTES.min(from + bytes.len() - done);
            let source = bytes.get(done..done + until - from);
            let chunk = self.chunks.get_mut(number).map(Arc::make_mut);
            let target = chunk.and_then(|chunk| chunk.get_mut(from..until));
            if let (Some(target), Some(source)) = (target, source) {
                target.copy_from_slice(source);
            }
            done += until - from;
        }
    }

    /// Inverts the bits of `mask` in one byte, if the file has it.
    pub(super) fn invert(&mut self, offset: usize, mask: u8) {
        let mut byte = [0];
        if self.read(offset, &mut byte) == 1 {
            self.store(offset, &byte.map(|byte| byte ^ mask));
        }
    }

    pub(super) fn resize(&mut self, bytes: usize) {
        if bytes < self.bytes {
            let (number, from) = place(bytes);
            if let Some(chunk) = self.chunks.get_mut(number).map(Arc::make_mut) {
                chunk.iter_mut().skip(from).for_each(|byte| *byte = 0);
            }
        }
        let chunks = bytes.div_ceil(CHUNK_BYTES);
        if chunks != self.chunks.len() {
            self.chunks.resize(chunks, Arc::new([0; CHUNK_BYTES]));
        }
        self.bytes = bytes;
    }
}

/// The chunk of a byte, and where in it that is.
const fn place(offset: usize) -> (usize, usize) {
    (offset / CHUNK_BYTES, offset % CHUNK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_it_was_copied_from() {
        let mut image = Image::from(&[7; 10_000][..]);
        let copy = image.clone();
        image.store(4000, &[1; 200]);
        image.invert(0, 0xff);
        assert_eq!(copy.to_vec(), [7; 10_000]);
        let mut expected = vec![7; 10_000];
        expected[4000..4200].fill(1);
        expected[0] = 0xf8;
        assert_eq!(image.to_vec(), expected);
        let mut part = [0; 300];
        assert_eq!(image.read(9_900, &mut part), 100);
        assert_eq!(part[..100], expected[9_900..]);
        assert_eq!(image.read(10_000, &mut part), 0);
    }

    #[test]
    fn a_file_that_shrinks_and_grows_has_zeros_at_its_end() {
        let mut image = Image::from(&[7; 5000][..]);
        image.resize(4500);
        image.store(5000, &[1]);
        let expected = [vec![7; 4500], vec![0; 500], vec![1]].concat();
        assert_eq!((image.len(), image.to_vec()), (5001, expected));
    }
}
