//! The one error of the crate: what failed, where, what is left changed, and what to do.
//!
//! - A message names the file, key or limit and the way out. The cause is told by
//!   [`source`](std::error::Error::source) alone, once, and so is not repeated in the message.
//! - The doc of each variant says what is left changed and whether trying again can help;
//!   [`Error::is_retryable`] says the latter to a program.
//! - Disks err, bugs crash: no variant stands for a broken invariant of the engine.
//!
//! Checked by: the tests below (messages, causes, `Send + Sync`).
#![forbid(unsafe_code)]

use crate::unit::{KEY_BYTES_MAX, Version};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// What the calls of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key has no byte. Nothing changed; final for this call.
    #[error("the key is empty: give it 1 to {KEY_BYTES_MAX} bytes")]
    EmptyKey,

    /// The key has more than 65,535 bytes. Nothing changed; final for this call.
    #[error("the key is longer than {KEY_BYTES_MAX} bytes: shorten it, or store under its hash")]
    KeyTooLong,

    /// The record does not fit. Nothing changed; final for this call.
    #[error(
        "the record takes {size} bytes with its header and key, over the limit of {limit}: \
         split it, or raise `max_record_size`"
    )]
    RecordTooLarge {
        /// What would be stored: header, key and value, padding aside. Unit: bytes.
        size: u64,
        /// The store's `max_record_size`. Unit: bytes.
        limit: u64,
    },

    /// The given version loses to what is there, a tombstone included. Nothing changed; the same
    /// call fails again, one with a version above `current` can succeed.
    #[error(
        "the given version loses to version {current} of the key: read the key again, and write \
         with a higher version"
    )]
    VersionConflict {
        /// The version that stands.
        current: Version,
    },

    /// The condition of the call does not hold for the key. Nothing changed; the same call can
    /// succeed only after somebody else's write, so read the key and decide anew.
    #[error("the condition does not hold for the key: read the key again, and decide anew")]
    ConditionFailed,

    /// No wblock is to be had, although no threshold is passed. Nothing changed; trying again
    /// helps once records were deleted or long-held pins were dropped.
    #[error(
        "no free wblock is left: delete records, drop pins that are held for long, or open the \
         store with a larger `data_size`"
    )]
    OutOfSpace,

    /// No wblock is free, and a reclaimer, which would empty some, has ended by a panic: see
    /// [`Health::ReclaimFailed`](crate::Health::ReclaimFailed). Nothing changed; final for this
    /// run.
    #[error(
        "no free wblock is left, and reclaim has failed ({reason}): close the store and open it \
         again, and report the message"
    )]
    ReclaimFailed {
        /// The thread, and what it said.
        reason: String,
    },

    /// A threshold of the configuration is passed. Nothing changed, and deletes go through; trying
    /// again helps once the store is below the threshold.
    #[error(
        "writes are stopped by `stop_writes_used_pct` or `stop_writes_avail_pct`, with \
         {used_pct}% of `data_size` used and {avail_pct}% of the wblocks free: delete records, \
         raise the threshold (`Store::reconfigure`), or open the store with a larger `data_size`"
    )]
    StopWrites {
        /// Share of `data_size` that records use. Unit: percent.
        used_pct: u8,
        /// Share of the wblocks that is free. Unit: percent.
        avail_pct: u8,
    },

    /// The shadow does not keep up: `max_write_cache` was full for all of `overload_wait`. Nothing
    /// changed; trying again helps once the shadow has caught up, so wait, longer each time.
    #[error(
        "the shadow is behind by `max_write_cache`, and `overload_wait` is over: write less, or \
         try again later"
    )]
    Overloaded,

    /// The shadow refuses writes, and several tries to write again from memory what it may have
    /// lost have failed. What was acknowledged as durable still is; the write that meets this is in
    /// no promise. Reads go on. The engine goes on trying, so that trying again helps once the
    /// cause is gone (space came back, for instance); where it does not go away, the whole store
    /// moves to another place with [`Store::reattach_shadow`](crate::Store::reattach_shadow).
    #[error(
        "the shadow {path} takes no writes: remove the cause, and the store goes on by itself, or \
         move it to another place (`Store::reattach_shadow`)"
    )]
    ShadowFailed {
        /// The file or device that failed.
        path: PathBuf,
        /// The cause; shared, because every write that meets it is told the same.
        source: Arc<io::Error>,
    },

    /// `flush`, a durable write or `close` has waited for all of its deadline. What it waited for
    /// goes on, and is in no promise: a write is in memory, and durable a while later or not at
    /// all. Trying again helps where the shadow is only slow; a second `close` is not needed.
    #[error(
        "`{key}` has passed after {waited_ms} ms with {pending_bytes} bytes not known to be \
         durable, because {reason}; the shadow is {path}: try again later, look after the device, \
         or raise `{key}`"
    )]
    DeadlinePassed {
        /// The configuration's key: `flush_deadline` or `close_deadline`.
        key: &'static str,
        /// How long the call has waited. Unit: milliseconds.
        waited_ms: u64,
        /// What had been written by then and is not known to be durable. Unit: bytes.
        pending_bytes: u64,
        /// What is in the way.
        reason: &'static str,
        /// The directory, or the first of the devices.
        path: PathBuf,
    },

    /// Another open store, in this process or another, has the shadow. Nothing was written; trying
    /// again helps once that store is closed.
    #[error("the shadow {path} is in use by another store: close that one, or name another shadow")]
    Locked {
        /// The file or device that is taken.
        path: PathBuf,
    },

    /// The caller is a forked child of the process that opened the store. Nothing changed; final
    /// in this process.
    #[error("the store was opened before this process was forked off: open it after the fork")]
    Forked,

    /// The file is something else, and is left as it is. Nothing was written; final until the
    /// configuration names another file.
    #[error("{path} is not a shadow but {found}: name another path, or move away what is there")]
    NotAShadow {
        /// The file or device that was to be opened.
        path: PathBuf,
        /// What was found there.
        found: String,
    },

    /// A snapshot would have to go to where something is already. Nothing was written; final until
    /// another place is named.
    #[error(
        "a snapshot goes to a directory that is new or empty, and {path} is {found}: name another \
         one, or move away what is there"
    )]
    NotEmpty {
        /// The directory that was named.
        path: PathBuf,
        /// What was found there.
        found: String,
    },

    /// The shadow is of a format that this build does not read. Nothing was written; final for
    /// this build.
    #[error("the shadow {path} has format version {version}: open it with the build that wrote it")]
    UnsupportedFormat {
        /// The file or device that was to be opened.
        path: PathBuf,
        /// The version that its superblock names.
        version: u32,
    },

    /// The shadow does not belong to this configuration, or to its other members. Nothing was
    /// written; final until the configuration fits the shadow.
    #[error(
        "the shadow {path} has {what} {found}, not {expected}: configure what it was created \
         with, or name the right shadow"
    )]
    ShadowMismatch {
        /// The member that does not fit.
        path: PathBuf,
        /// What differs, for instance `"stripe count"`.
        what: &'static str,
        /// What the configuration, or the other members, say.
        expected: String,
        /// What this member says.
        found: String,
    },

    /// Cold start found damage, and `on_damage` is `refuse`. Nothing was written; final until the
    /// shadow is restored or `on_damage` is `report`.
    #[error(
        "the shadow {path} has {damaged} damaged places: restore it from a copy, or set \
         `on_damage` to `report` to go on without them"
    )]
    Damaged {
        /// The first member with damage.
        path: PathBuf,
        /// Damaged places (records, or runs of bytes that verify as nothing) over all members.
        damaged: u64,
    },

    /// The configuration cannot be used. Nothing was opened; final until it is changed.
    #[error("configuration key `{key}`: {reason}")]
    Config {
        /// The key as the configuration spells it; `toml` where the text as a whole is wrong.
        key: String,
        /// What is wrong with it, the keys that it contradicts, and what would be accepted.
        reason: String,
    },

    /// The store was closed, through this handle or a clone. Nothing changed; final for this
    /// handle.
    #[error("the store is closed: open it again to go on")]
    Closed,

    /// A batch stopped at its first error. The first `done` records are in, the others are not;
    /// whether going on from record `done` can help is the cause's to say.
    #[error(
        "the batch stopped after {done} records, which are stored: remove the cause, then go on \
         with the rest"
    )]
    Batch {
        /// Records that are in the store.
        done: usize,
        /// Why the next one is not.
        source: Box<Error>,
    },

    /// The system refused an operation, with nothing half-made left behind. Whether trying again
    /// can help depends on the cause.
    #[error("cannot {op} {path}: remove the cause, then try again")]
    Io {
        /// What was tried, as a verb: `"open"`.
        op: &'static str,
        /// The file, directory or device.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
}

/// `text` with what could move a terminal's cursor escaped: it may quote what somebody else wrote.
fn shown(text: String) -> String {
    let is_unprintable = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if !text.contains(is_unprintable) {
        return text;
    }
    let escaped =
        |c: char| if is_unprintable(c) { c.escape_default().collect() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

impl Error {
    /// The configuration's `key` cannot be used, for `reason`.
    pub(crate) fn config(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Config { key: shown(key.into()), reason: shown(reason.into()) }
    }

    /// True where the very same call can succeed later with nothing done about it but waiting.
    ///
    /// ```
    /// assert!(brindle::Error::Overloaded.is_retryable());
    /// assert!(!brindle::Error::EmptyKey.is_retryable());
    /// ```
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::OutOfSpace
            | Self::StopWrites { .. }
            | Self::Overloaded
            | Self::Locked { .. }
            | Self::DeadlinePassed { .. } => true,
            Self::Batch { source, .. } => source.is_retryable(),
            Self::Io { source, .. } => passes(source.kind()),
            Self::ShadowFailed { source, .. } => passes(source.kind()),
            Self::EmptyKey
            | Self::KeyTooLong
            | Self::RecordTooLarge { .. }
            | Self::VersionConflict { .. }
            | Self::ConditionFailed
            | Self::Forked
            | Self::ReclaimFailed { .. }
            | Self::NotAShadow { .. }
            | Self::NotEmpty { .. }
            | Self::UnsupportedFormat { .. }
            | Self::ShadowMismatch { .. }
            | Self::Damaged { .. }
            | Self::Config { .. }
            | Self::Closed => false,
        }
    }
}

/// True for what the system may stop answering by itself.
fn passes(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::ResourceBusy
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::OutOfMemory
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    /// One of each variant, with words that its message must hold.
    fn each() -> Vec<(Error, &'static [&'static str])> {
        const AT: &str = "/d/stripe-000.shadow";
        let path = || PathBuf::from(AT);
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        vec![
            (Error::EmptyKey, &["65535"]),
            (Error::KeyTooLong, &["65535"]),
            (Error::RecordTooLarge { size: 70, limit: 64 }, &["70", "64", "`max_record_size`"]),
            (Error::VersionConflict { current: Version::from(7) }, &["version 7"]),
            (Error::ConditionFailed, &["condition"]),
            (Error::OutOfSpace, &["`data_size`"]),
            (Error::ReclaimFailed { reason: "why".into() }, &["(why)", "open it again"]),
            (
                Error::StopWrites { used_pct: 91, avail_pct: 4 },
                &["91%", "4%", "`stop_writes_used_pct`", "`stop_writes_avail_pct`", "`data_size`"],
            ),
            (Error::Overloaded, &["`max_write_cache`", "`overload_wait`"]),
            (Error::ShadowFailed { path: path(), source: Arc::new(full()) }, &[AT]),
            (
                Error::DeadlinePassed {
                    key: "flush_deadline",
                    waited_ms: 250,
                    pending_bytes: 4096,
                    reason: "the device has not answered",
                    path: path(),
                },
                &[AT, "`flush_deadline`", "250 ms", "4096 bytes", "not answered"],
            ),
            (Error::Locked { path: path() }, &[AT]),
            (Error::Forked, &["fork"]),
            (Error::NotAShadow { path: path(), found: "a FIFO".into() }, &[AT, "a FIFO"]),
            (Error::NotEmpty { path: path(), found: "a file".into() }, &[AT, "a file", "empty"]),
            (Error::UnsupportedFormat { path: path(), version: 9 }, &[AT, "9"]),
            (
                Error::ShadowMismatch {
                    path: path(),
                    what: "stripe count",
                    expected: "4".into(),
                    found: "2".into(),
                },
                &[AT, "stripe count 2", "not 4"],
            ),
            (Error::Damaged { path: path(), damaged: 3 }, &[AT, "3", "`on_damage`"]),
            (Error::config("stripes", "is 0"), &["`stripes`", "is 0"]),
            (Error::Closed, &["closed"]),
            (Error::Batch { done: 5, source: Box::new(Error::OutOfSpace) }, &["5 records"]),
            (Error::Io { op: "open", path: path(), source: full() }, &["open", AT]),
        ]
    }

    #[test]
    fn messages_are_lower_case_and_name_what_they_are_about() {
        for (error, words) in each() {
            let message = error.to_string();
            assert!(!message.starts_with(char::is_uppercase), "{message}");
            assert!(!message.ends_with('.') && !message.contains('\n'), "{message}");
            assert!(!message.contains("  "), "{message}");
            for word in words {
                assert!(message.contains(word), "`{word}` is missing in: {message}");
            }
        }
    }

    #[test]
    fn the_cause_is_told_by_source_alone() {
        for (error, _) in each() {
            let has_cause = matches!(
                error,
                Error::ShadowFailed { .. } | Error::Batch { .. } | Error::Io { .. }
            );
            assert_eq!(error.source().is_some(), has_cause, "{error}");
            if let Some(cause) = error.source() {
                assert!(!error.to_string().contains(&cause.to_string()), "{error}");
            }
        }
    }

    #[test]
    fn a_batch_and_an_io_error_are_as_retryable_as_their_cause() {
        let batch = |source| Error::Batch { done: 0, source: Box::new(source) };
        assert!(batch(Error::Overloaded).is_retryable());
        assert!(!batch(Error::EmptyKey).is_retryable());
        let io = |kind| Error::Io { op: "open", path: "x".into(), source: io::Error::from(kind) };
        assert!(io(io::ErrorKind::StorageFull).is_retryable());
        assert!(!io(io::ErrorKind::PermissionDenied).is_retryable());
    }

    #[test]
    fn an_error_may_cross_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Error>();
    }
}
