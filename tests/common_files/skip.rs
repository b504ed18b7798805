//! Says that a case was left out, and why: never silently.

use std::io::Write;

/// Prints the reason. A case that is left out has found nothing, neither good nor bad.
pub fn skip(reason: &str) {
    // Past the harness's capture, which shows nothing of tests that pass.
    let _ = std::io::stderr().write_all(format!("skipped: {reason}\n").as_bytes());
}

/// As [`skip`], of so many cases of a table.
#[allow(dead_code, clippy::allow_attributes, reason = "not every test has tables")]
pub fn skip_cases(count: u64, reason: &str) {
    skip(&format!("{count} cases: {reason}"));
}
