//! Lines of text from a file or standard input, gzipped or not.

use crate::error::Failure;
use flate2::bufread::MultiGzDecoder;
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Bytes of a line at most: the largest record in the longest way to write it (each byte of a
/// value as `\u0000`).
const LINE_BYTES_MAX: u64 = 64 << 20;
const BUFFER_BYTES: usize = 256 << 10;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Gzipped text is at least so many times as long as its file, where its last bytes say less:
/// they hold the length of the last member alone, and modulo 2^32.
const GZIP_RATIO_MIN: u64 = 8;

/// What is read, and how far.
pub(crate) struct Input {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    sizes: InputSizes,
    /// Bytes read from the file.
    taken: Rc<Cell<u64>>,
    /// Lines read.
    pub(crate) lines: u64,
    /// Bytes of text read.
    pub(crate) bytes: u64,
}

/// What is known before it is read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InputSizes {
    /// Bytes of the file, if it is one.
    pub(crate) file_bytes: Option<u64>,
    /// Bytes of text that the file holds, as far as that can be told in advance.
    pub(crate) text_bytes_expected: Option<u64>,
}

/// How a line came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// Whole; without its line feed.
    Whole,
    /// The last one, without a line feed: perhaps it was cut off.
    Last,
    /// Longer than any record could make it; its end was passed over.
    TooLong,
}

impl Input {
    /// What is known of `path`, which is there.
    pub(crate) fn sizes(path: &Path) -> Result<InputSizes, Failure> {
        if path.as_os_str() == "-" {
            return Ok(InputSizes::default());
        }
        let failed = |source| Failure::File { op: "open", path: path.to_owned(), source };
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Ok(InputSizes::default()); // what is read of a pipe is gone
        }
        Self::open(path).map(|input| input.sizes)
    }

    /// Opens `path`; `-` is standard input.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |source| Failure::File { op: "open", path: path.to_owned(), source };
        let taken = Rc::new(Cell::new(0));
        let (source, file_bytes, tail): (Box<dyn Read>, _, _) = if path.as_os_str() == "-" {
            (Box::new(io::stdin()), None, None)
        } else {
            let file = File::open(path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            let bytes = metadata.is_file().then_some(metadata.len());
            let tail = bytes.and_then(|bytes| read_tail(&file, bytes));
            (Box::new(file), bytes, tail)
        };
        let counted = Counted { source, taken: Rc::clone(&taken) };
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, counted);
        let is_gzipped = reader.fill_buf().map_err(failed)?.starts_with(&GZIP_MAGIC);
        let text_bytes_expected = file_bytes.map(|bytes| match tail {
            Some(tail) if is_gzipped => u64::from(tail).max(bytes * GZIP_RATIO_MIN),
            _ => bytes,
        });
        let reader: Box<dyn BufRead> = if is_gzipped {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(reader)))
        } else {
            Box::new(reader)
        };
        let path = path.to_owned();
        let sizes = InputSizes { file_bytes, text_bytes_expected };
        Ok(Self { path, reader, sizes, taken, lines: 0, bytes: 0 })
    }

    /// Bytes of the file that were read.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Reads the next line into `line`; `None`: there is none.
    pub(crate) fn next(&mut self, line: &mut Vec<u8>) -> Result<Option<Came>, Failure> {
        line.clear();
        let failed = |source| Failure::Input { path: self.path.clone(), line: self.lines, source };
        let read =
            (&mut self.reader).take(LINE_BYTES_MAX).read_until(b'\n', line).map_err(failed)?;
        if read == 0 {
            return Ok(None);
        }
        self.bytes += read as u64;
        let mut came = Came::Whole;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if read as u64 == LINE_BYTES_MAX {
            came = Came::TooLong;
            self.bytes += self.reader.skip_until(b'\n').map_err(failed)? as u64;
        } else {
            came = Came::Last;
        }
        self.lines += 1;
        Ok(Some(came))
    }
}

/// The last four bytes of a file: of a gzipped one, the length of its text.
fn read_tail(file: &File, bytes: u64) -> Option<u32> {
    let mut tail = [0; 4];
    file.read_exact_at(&mut tail, bytes.checked_sub(4)?).ok()?;
    Some(u32::from_le_bytes(tail))
}

/// Counts what passes.
struct Counted {
    source: Box<dyn Read>,
    taken: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.taken.set(self.taken.get() + read as u64);
        Ok(read)
    }
}
