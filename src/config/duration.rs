//! Durations as text: `250ms`.
#![forbid(unsafe_code)]

use super::size::number_and_unit;
use std::time::Duration;

/// Each unit, and the microseconds in it.
const UNITS: [(&str, u64); 6] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("min", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

/// The time that `text` says: a whole number and a unit, with or without a space between.
///
/// Units are in lower case, and `m` is none: it could be months, minutes or a mistyped `ms`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let Some((number, unit)) = number_and_unit(text) else {
        return Err(format!(
            "{text:?} is not a duration: write a whole number and a unit, such as 250ms"
        ));
    };
    let Some((_, micros)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let fault = if unit.is_empty() { "no unit" } else { "an unknown unit" };
        return Err(format!("{text:?} has {fault}: write us, ms, s, min, h or d"));
    };
    let micros = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*micros));
    micros.map(Duration::from_micros).ok_or_else(|| format!("{text:?} is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_whole_numbers_of_a_unit() {
        let good = [
            ("0s", Duration::ZERO),
            ("1s", Duration::from_secs(1)),
            ("250ms", Duration::from_millis(250)),
            ("1000us", Duration::from_millis(1)),
            ("10min", Duration::from_secs(600)),
            (" 2 h ", Duration::from_secs(7200)),
            ("30d", Duration::from_secs(30 * 86_400)),
        ];
        for (text, duration) in good {
            assert_eq!(parse(text), Ok(duration), "{text:?}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_a_way_out() {
        let bad = [
            ("", "whole number"),
            ("s", "whole number"),
            ("-1s", "whole number"),
            ("1", "no unit"),
            ("1m", "unknown unit"),
            ("1S", "unknown unit"),
            ("1.5s", "unknown unit"),
            ("1h30min", "unknown unit"),
            ("18446744073709551616us", "too long"),
            ("18446744073709551615h", "too long"),
        ];
        for (text, word) in bad {
            let reason = parse(text).expect_err(text);
            assert!(reason.contains(word), "{text:?}: {reason}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,12}|[0-9]{0,22} ?(us|ms|s|min|h|d)?") {
            let _ = parse(&text);
        }
    }
}
