//! Why a command could not run, and how it ended if it could.

use std::error::Error;
use std::io;
use std::path::PathBuf;

/// Why a command could not run. Damage is none of these: it is a finding.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A file, directory or device refused.
    #[error("cannot {op} {path}")]
    File { op: &'static str, path: PathBuf, source: io::Error },
    /// Something else than a shadow.
    #[error("{path} is not a shadow but {found}: name a shadow directory, file or device")]
    NotAShadow { path: PathBuf, found: String },
    /// A shadow of which no superblock verifies.
    #[error(
        "{path} cannot be read: {found}; restore it from a copy, or save what its wblocks hold \
         with `brindle salvage`"
    )]
    Unreadable { path: PathBuf, found: String },
    /// A shadow of a version of the format to come.
    #[error("{path} has format version {version}: read it with the build that wrote it")]
    NewerFormat { path: PathBuf, version: u32 },
    /// Shadows that do not belong together have no winners in common.
    #[error("{path} {what}: name shadows of one store, or one file alone")]
    Mixed { path: PathBuf, what: String },
    /// The text that is imported cannot be read on.
    #[error("cannot read {path} behind line {line}; the lines before are stored")]
    Input { path: PathBuf, line: u64, source: io::Error },
    /// The engine refused.
    #[error("cannot {op}")]
    Engine { op: &'static str, source: Box<dyn Error + Send + Sync> },
    /// The store is full.
    #[error(
        "the store of {data_size} is full at line {line}: the {put} records before are stored; \
         import into a new directory with a `--data-size` of more than that"
    )]
    Full { data_size: String, line: u64, put: u64, source: Box<dyn Error + Send + Sync> },
    /// Keys are noted while they are read, and there is no memory for one more.
    #[error("no memory for more than {keys} keys: `--prefix` asks for fewer, `get` for one")]
    Memory { keys: usize },
    /// No host publishes there, or not yet.
    #[error(
        "nothing is published at {path}: start the host, have it call `Store::publish_top` with \
         this path (feature `top`), or name the path that it gives"
    )]
    NotPublished { path: PathBuf },
    /// The file is for the user that the host runs as.
    #[error("{path} is for the user that the host runs as: run this as that user")]
    NotYours { path: PathBuf },
    /// Something else than what a host publishes.
    #[error(
        "{path} was not written by `Store::publish_top` ({found}): name the path that the host \
         gives"
    )]
    NotTop { path: PathBuf, found: String },
    /// Published by an engine to come.
    #[error(
        "{path} has version {version}, of Brindle {engine}: look at it with the command of that \
         version"
    )]
    NewerTop { path: PathBuf, version: u32, engine: String },
    /// A terminal that cannot be drawn on.
    #[error("cannot {op} the terminal")]
    Terminal { op: &'static str, source: io::Error },
    /// What was asked for contradicts itself, beyond what the parser of arguments sees.
    #[error("{0}")]
    Usage(String),
    /// Standard output refused.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl Failure {
    /// Whoever read our output had enough of it.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// How a command that could run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done, and nothing is wrong.
    Good,
    /// Something was found: damage, a difference; or nothing was, where a key was asked for.
    Bad,
}

impl Outcome {
    /// The exit status.
    pub(crate) const fn status(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Bad => 1,
        }
    }
}
