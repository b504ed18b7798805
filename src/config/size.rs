//! Sizes as text: `64MiB`. Binary units alone, because every size here is about powers of two.
//!
//! `MB` is refused and not taken for 10^6 or 2^20: half of those who write it mean the other.
#![forbid(unsafe_code)]

use std::fmt;

/// Each unit, largest first, and the bytes in it.
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number of bytes that shows itself as an operator would write it.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, bytes): &&(&str, u64)| self.0 >= *bytes && self.0.is_multiple_of(*bytes);
        match UNITS.iter().find(whole) {
            Some((unit, bytes)) => write!(out, "{}{unit}", self.0 / bytes),
            None => out.write_str("0B"),
        }
    }
}

/// The bytes that `text` says: a whole number and a unit, with or without a space between.
#[cfg(feature = "serde")]
pub fn parse(text: &str) -> Result<u64, String> {
    let Some((number, unit)) = number_and_unit(text) else {
        return Err(format!(
            "{text:?} is not a size: write a whole number and a unit, such as 64MiB"
        ));
    };
    let Some((_, bytes)) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) else {
        return Err(unknown_unit(text, unit));
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*bytes));
    bytes.ok_or_else(|| format!("{text:?} is too large: a size is below 16777216TiB"))
}

/// Why `unit` is none, and which one may have been meant.
#[cfg(feature = "serde")]
fn unknown_unit(text: &str, unit: &str) -> String {
    let meant = UNITS.iter().find(|(name, bytes)| {
        let letter = name.get(..1).unwrap_or_default();
        let decimal = unit.eq_ignore_ascii_case(&format!("{letter}B"));
        *bytes > 1 && (decimal || unit.eq_ignore_ascii_case(letter))
    });
    match meant {
        Some((name, _)) => format!("{text:?} may mean a decimal unit: write `{name}`"),
        None if unit.is_empty() => format!("{text:?} has no unit: write B, KiB, MiB, GiB or TiB"),
        None => format!("{text:?} has an unknown unit: write B, KiB, MiB, GiB or TiB"),
    }
}

/// The digits at the start of `text`, and what follows them; `None` if there are none.
#[cfg(feature = "serde")]
pub fn number_and_unit(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_ascii();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    (digits > 0).then(|| (number, unit.trim_ascii_start()))
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_whole_numbers_of_binary_units() {
        let good: [(&str, u64); 9] = [
            ("0B", 0),
            ("512B", 512),
            ("8 KiB", 8 << 10),
            ("64MiB", 64 << 20),
            ("64mib", 64 << 20),
            (" 1GiB ", 1 << 30),
            ("16TiB", 16 << 40),
            ("007KiB", 7 << 10),
            ("18446744073709551615B", u64::MAX),
        ];
        for (text, bytes) in good {
            assert_eq!(parse(text), Ok(bytes), "{text:?}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_a_way_out() {
        let bad = [
            ("", "whole number"),
            ("MiB", "whole number"),
            ("-1MiB", "whole number"),
            ("\u{665}MiB", "whole number"),
            ("64", "no unit"),
            ("1.5GiB", "unknown unit"),
            ("1_000B", "unknown unit"),
            ("64 M iB", "unknown unit"),
            ("64MB", "`MiB`"),
            ("64kB", "`KiB`"),
            ("4G", "`GiB`"),
            ("18446744073709551616B", "too large"),
            ("16777216TiB", "too large"),
        ];
        for (text, word) in bad {
            let reason = parse(text).expect_err(text);
            assert!(reason.contains(word), "{text:?}: {reason}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes: u64, shift in 0_u32..64) {
            let bytes = bytes >> shift << (shift / 2);
            prop_assert_eq!(parse(&Size(bytes).to_string()), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}|[0-9]{0,22} ?[kKmMgGtT]?i?[bB]?") {
            let _ = parse(&text);
        }
    }
}
