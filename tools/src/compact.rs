//! The one compact text of a JSON value: what `import` stores and `export` recognises.
//!
//! No space between tokens, strings as `serde_json` writes them (escaped only where they must be),
//! everything else as it was: numbers keep their digits, members their order.
//!
//! Invariants
//! - J1  `compact(compact(x)) == compact(x)`, so what `export` shows as JSON `import` stores as the
//!   same bytes.
//! - J2  What `export` shows as JSON any reader takes: no number beyond a double, no depth beyond
//!   128. Other text may be JSON by its grammar alone, and is shown as text.

use serde_json::Value;
use serde_json::value::RawValue;

/// The compact text of `value`; the error says why there is none (a lone surrogate).
pub(crate) fn compact(value: &RawValue) -> serde_json::Result<String> {
    let mut rest = value.get();
    let mut text = String::with_capacity(rest.len());
    while let Some(at) = rest.find(is_special) {
        let (plain, special) = rest.split_at_checked(at).unwrap_or((rest, ""));
        text.push_str(plain);
        if special.starts_with('"') {
            let (string, after) = split_string(special);
            push_string(&mut text, string)?;
            rest = after;
        } else {
            rest = special.trim_ascii_start();
        }
    }
    text.push_str(rest);
    Ok(text)
}

/// `bytes` as JSON, if they are its compact text (J1, J2).
pub(crate) fn as_compact(bytes: &[u8]) -> Option<&RawValue> {
    let _tree: Value = serde_json::from_slice(bytes).ok()?;
    let value: &RawValue = serde_json::from_slice(bytes).ok()?;
    (compact(value).ok()?.as_bytes() == bytes).then_some(value)
}

fn is_special(c: char) -> bool {
    c == '"' || c.is_ascii_whitespace()
}

/// The string, quotes included, that `text` starts with, and what follows it.
fn split_string(text: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    // A raw value is whole: its strings end.
    end.and_then(|end| text.split_at_checked(end + 2)).unwrap_or((text, ""))
}

fn push_string(text: &mut String, string: &str) -> serde_json::Result<()> {
    if string.contains('\\') {
        let plain: String = serde_json::from_str(string)?;
        text.push_str(&serde_json::to_string(&plain)?);
    } else {
        text.push_str(string);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compacted(text: &str) -> String {
        compact(serde_json::from_str(text).unwrap()).unwrap()
    }

    #[test]
    fn only_space_and_needless_escapes_go() {
        for (text, expected) in [
            (" { \"b\" : [ 1.0 , 1e5 ] ,\n\"a\":\tnull } ", r#"{"b":[1.0,1e5],"a":null}"#),
            (r#""a b\" c""#, r#""a b\" c""#),
            (r#""\u00e4\/\u0007\\""#, r#""ä/\u0007\\""#),
            (r#"{"":"  "}"#, r#"{"":"  "}"#),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            (r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2}"#),
            ("true", "true"),
        ] {
            assert_eq!(compacted(text), expected);
            assert_eq!(compacted(expected), expected, "J1");
            assert!(as_compact(expected.as_bytes()).is_some());
        }
    }

    #[test]
    fn what_is_not_compact_is_not_taken_for_it() {
        for bytes in [&b"{ }"[..], b"", b" 1", b"1 ", b"a", b"\"\\/\"", b"\xff", b"1 2"] {
            assert!(as_compact(bytes).is_none(), "{bytes:?}");
        }
        let deep = [[b'['; 200], [b']'; 200]].concat();
        assert!(as_compact(b"1e400").is_none() && as_compact(&deep).is_none(), "J2");
        let lone = serde_json::from_str(r#""\ud800""#);
        assert!(lone.is_err() || compact(lone.unwrap()).is_err());
    }
}
