//! Events for operators, with the feature `tracing`: open, cold start, moves of the shadow, its
//! failures, stop-writes, close. Nothing on the hot path, and nothing at all without the feature.
//!
//! An event has a message, which is a sentence, and fields for programs. The target is `brindle`.
#![forbid(unsafe_code)]

use crate::error::Error;

/// Tells a subscriber, if there is one.
#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:ident, $($rest:tt)*) => {
        tracing::event!(target: "brindle", tracing::Level::$level, $($rest)*)
    };
}

#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($($event:tt)*) => {
        ()
    };
}

pub(crate) use event;

/// Something failed, and this is the error.
pub(crate) fn failed(message: &str, error: &Error) {
    event!(ERROR, error = %error, "{message}");
    #[cfg(not(feature = "tracing"))]
    let _ = (message, error);
}

/// Something that an operator should know.
pub(crate) fn notice(text: &str) {
    event!(WARN, "{text}");
    #[cfg(not(feature = "tracing"))]
    let _ = text;
}
