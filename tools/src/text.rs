//! Sizes, instants, keys and hex digits as people write and read them.

use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Units of a size, largest first. Binary ones alone: half of those who write `MB` mean the other.
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number of bytes. Read as `64MiB`; shown rounded for people, exact in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).unwrap_or(("", text));
        let unit = unit.trim_start();
        let known = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let bytes = match (number.parse::<u64>(), known) {
            (Ok(number), Some((_, bytes))) => number.checked_mul(*bytes),
            _ => None,
        };
        bytes.map(Self).ok_or_else(|| {
            "write a whole number and a unit (B, KiB, MiB, GiB, TiB), such as 64MiB".to_owned()
        })
    }
}

impl fmt::Display for Size {
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, bytes)| self.0 >= *bytes);
        match unit {
            Some((unit, bytes)) if self.0.is_multiple_of(*bytes) => {
                write!(out, "{} {unit}", self.0 / bytes)
            }
            Some((unit, bytes)) => write!(out, "{:.1} {unit}", self.0 as f64 / *bytes as f64),
            None => out.write_str("0 B"),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// Microseconds since 1970, shown as UTC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instant(pub(crate) u64);

impl fmt::Display for Instant {
    /// Source of the calendar: Hinnant, "chrono-Compatible Low-Level Date Algorithms", 2013.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000;
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let shifted = days + 719_468; // days since 0000-03-01
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(out, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

/// A span of microseconds, roughly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Age(pub(crate) u64);

impl fmt::Display for Age {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000;
        match seconds {
            0 => write!(out, "{} ms", self.0 / 1_000),
            1..120 => write!(out, "{seconds} s"),
            120..7_200 => write!(out, "{} min", seconds / 60),
            7_200..172_800 => write!(out, "{} h", seconds / 3_600),
            _ => write!(out, "{} days", seconds / 86_400),
        }
    }
}

/// Key bytes for people: nothing in them can move a terminal's cursor.
pub(crate) fn shown_key(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.chars().any(is_unprintable) => text.to_owned(),
        _ => key.escape_ascii().to_string(),
    }
}

/// `text` for people: what would move a terminal's cursor is escaped.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let escaped =
        |c: char| if is_unprintable(c) { c.escape_default().to_string() } else { c.into() };
    Cow::Owned(text.chars().map(escaped).collect())
}

/// Control characters, and those that turn the direction of writing or take no room.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `bytes` as hex digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    use fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}"); // a string takes everything
    }
    text
}

/// The bytes that hex digits say; `None` if they are none.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok();
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes) in [("64MiB", 64 << 20), ("1 gib", 1 << 30), ("7B", 7), ("0KiB", 0)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "64", "MiB", "64MB", "1.5GiB", "-1B", "99999999TiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert_eq!(Size(192 << 20).to_string(), "192 MiB");
        assert_eq!(Size(1536).to_string(), "1.5 KiB");
        assert_eq!(Size(0).to_string(), "0 B");
    }

    #[test]
    fn instants_follow_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_700_000_000, "2023-11-14 22:13:20 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(Instant(seconds * 1_000_000).to_string(), text);
        }
        let _ = Instant(u64::MAX).to_string();
    }

    #[test]
    fn hex_reads_back() {
        assert_eq!(from_hex(&to_hex(&[0, 0xab, 255])), Some(vec![0, 0xab, 255]));
        assert_eq!(from_hex("AbcD"), Some(vec![0xab, 0xcd]));
        for text in ["a", "zz", "+1", "ä"] {
            assert_eq!(from_hex(text), None, "{text}");
        }
    }

    #[test]
    fn keys_cannot_write_on_the_terminal() {
        assert_eq!(shown_key("schlüssel".as_bytes()), "schlüssel");
        assert_eq!(shown_key(b"a\x1b[2J"), "a\\x1b[2J");
        assert_eq!(shown_key("a\u{202e}b".as_bytes()), "a\\xe2\\x80\\xaeb");
        assert_eq!(shown_key(&[255, b'"']), "\\xff\\\"");
        assert_eq!(shown("a\u{9b}2J \\ \u{202e}ä\n"), "a\\u{9b}2J \\ \\u{202e}ä\\n");
    }
}
