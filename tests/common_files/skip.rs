//! Says that a case was left out, and why: never silently.

use std::io::Write;

/// Prints the reason. A case that is left out has found nothing, neither good nor bad.
pub fn skip(reason: &str) {
    // Past the harness's capture, which shows nothing of tests that pass.
    let _ = std::io::stderr().write_all(format!("skipped: {reason}\n").as_bytes());
}
