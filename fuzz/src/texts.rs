//! Text: a configuration, and lines of JSON.

use super::is_unprintable;
use brindle::Config;

/// A configuration in TOML: read, or refused with words that a terminal can show.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::from_toml(text) {
        Ok(config) => {
            let shown = format!("{config:?}");
            assert!(shown.len() < 4_096 + 8 * text.len());
        }
        Err(error) => {
            let shown = error.to_string();
            assert!(!shown.chars().any(is_unprintable), "{shown:?}");
            assert!(shown.len() < 4_096 + 8 * text.len());
        }
    }
}

/// Lines to be imported: read and written until nothing changes, or refused.
pub fn import(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Err(reason) = brindle_tools::check_line(line) {
            assert!(reason.len() < 4_096 + 8 * line.len());
        }
    }
}
