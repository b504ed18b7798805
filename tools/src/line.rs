//! A record as a line of JSON: what `export` writes and `import` reads.
//!
//! Invariants
//! - L1  The bytes of key and value that a line is read to are those that it was written from.

use crate::compact::{as_compact, compact};
use crate::output::write_line;
use crate::text::{from_hex, to_hex};
use brindle::format::RecordView;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A key in JSON: text if it is text.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) enum KeyText<'a> {
    /// The key, if it is UTF-8.
    #[serde(rename = "key")]
    Text(Cow<'a, str>),
    /// The bytes of the key in hex digits, if not.
    #[serde(rename = "key_hex")]
    Hex(String),
}

impl<'a> From<&'a [u8]> for KeyText<'a> {
    fn from(key: &'a [u8]) -> Self {
        let text = |text| Self::Text(Cow::Borrowed(text));
        std::str::from_utf8(key).map_or_else(|_| Self::Hex(to_hex(key)), text)
    }
}

impl KeyText<'_> {
    /// The same, for longer.
    pub(crate) fn of(key: &[u8]) -> KeyText<'static> {
        let text = |text: &str| KeyText::Text(Cow::Owned(text.to_owned()));
        std::str::from_utf8(key).map_or_else(|_| KeyText::Hex(to_hex(key)), text)
    }

    /// The bytes of the key.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.as_bytes().to_vec(),
            Self::Hex(hex) => from_hex(hex).unwrap_or_default(),
        }
    }
}

/// A value in JSON: the first form that gives its bytes back.
#[derive(Debug, Serialize, JsonSchema)]
enum ValueText<'a> {
    /// A value that is compact JSON, as it is.
    #[serde(rename = "value")]
    Json(#[schemars(with = "serde_json::Value")] &'a RawValue),
    /// A value that is other text.
    #[serde(rename = "value_text")]
    Text(&'a str),
    /// The bytes of any other value in hex digits.
    #[serde(rename = "value_hex")]
    Hex(String),
}

impl<'a> From<&'a [u8]> for ValueText<'a> {
    fn from(value: &'a [u8]) -> Self {
        match (as_compact(value), std::str::from_utf8(value)) {
            (Some(json), _) => Self::Json(json),
            (None, Ok(text)) => Self::Text(text),
            (None, Err(_)) => Self::Hex(to_hex(value)),
        }
    }
}

/// A line that is written.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RecordLine<'a> {
    #[serde(flatten)]
    key: KeyText<'a>,
    #[serde(flatten)]
    value: ValueText<'a>,
    /// The higher one wins; the time of the write, unless its caller chose it.
    version: u64,
    /// Microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_us: Option<u64>,
}

impl<'a> RecordLine<'a> {
    /// The line of a record.
    pub(crate) fn new(
        key: &'a [u8],
        value: &'a [u8],
        version: u64,
        expires_at_us: Option<u64>,
    ) -> Self {
        Self { key: key.into(), value: value.into(), version, expires_at_us }
    }

    /// The line of the record that `view` shows.
    pub(crate) fn of(view: &RecordView<'a>) -> Self {
        Self::new(view.key(), view.value(), view.version().into(), view.expires_at())
    }
}

/// A line that is read, before it is checked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLine<'a> {
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    key_hex: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    value_text: Option<Cow<'a, str>>,
    value_hex: Option<Cow<'a, str>>,
    ttl_ms: Option<u64>,
    expires_at_ms: Option<u64>,
    expires_at_us: Option<u64>,
    version: Option<u64>,
}

/// A value that is there, `null` included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// When a record that is read expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Never.
    Endless,
    /// So many milliseconds after it is put; 0 is never.
    Ms(u64),
    /// At this time: microseconds since 1970.
    Until(u64),
}

/// A record as a line asks for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) life: Life,
    pub(crate) version: Option<u64>,
}

impl Wanted {
    /// The record that the line `text` asks for, or why it is a bad line.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let raw: RawLine<'_> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let life = match (raw.ttl_ms, raw.expires_at_ms, raw.expires_at_us) {
            (None, None, None) => Life::Endless,
            (Some(ms), None, None) => Life::Ms(ms),
            (None, Some(ms), None) => Life::Until(ms.saturating_mul(1_000)),
            (None, None, Some(us)) => Life::Until(us),
            _ => return Err("has more than one expiry".to_owned()),
        };
        Ok(Self { key: key_of(&raw)?, value: value_of(&raw)?, life, version: raw.version })
    }
}

fn key_of(raw: &RawLine<'_>) -> Result<Vec<u8>, String> {
    match (&raw.key, &raw.key_hex) {
        (Some(text), None) => Ok(text.as_bytes().to_vec()),
        (None, Some(hex)) => from_hex(hex).ok_or_else(|| "key_hex is not hex digits".to_owned()),
        (None, None) => Err("has no key".to_owned()),
        (Some(_), Some(_)) => Err("has two keys".to_owned()),
    }
}

fn value_of(raw: &RawLine<'_>) -> Result<Vec<u8>, String> {
    match (raw.value, &raw.value_text, &raw.value_hex) {
        (Some(json), None, None) => {
            compact(json).map(String::into_bytes).map_err(|error| format!("value: {error}"))
        }
        (None, Some(text), None) => Ok(text.as_bytes().to_vec()),
        (None, None, Some(hex)) => {
            from_hex(hex).ok_or_else(|| "value_hex is not hex digits".to_owned())
        }
        (None, None, None) => Err("has no value".to_owned()),
        _ => Err("has more than one value".to_owned()),
    }
}

/// What [`check_line`](crate::check_line) does.
#[expect(clippy::expect_used, reason = "L1, which fuzzing looks at")]
pub(crate) fn check(text: &[u8]) -> Result<(), String> {
    let wanted = Wanted::parse(text)?;
    let expires_at_us = match wanted.life {
        Life::Endless | Life::Ms(_) => None,
        Life::Until(us) => Some(us),
    };
    let version = wanted.version.unwrap_or_default();
    let mut line = Vec::new();
    let record = RecordLine::new(&wanted.key, &wanted.value, version, expires_at_us);
    write_line(&mut line, &record).expect("memory takes it");
    let again = Wanted::parse(&line).expect("L1: what is written can be read");
    assert!(again.key == wanted.key && again.value == wanted.value, "L1: {text:?}");
    assert_eq!(again.version, Some(version), "L1: {text:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let values: [&[u8]; 9] = [
            b"",
            b"null",
            b"{\"a\":[1,2.50]}",
            b"{ \"a\": 1 }",
            b"plain",
            b"\xff\x00",
            b"\"quoted\"",
            "ä\n\u{1}".as_bytes(),
            b"12345678901234567890123",
        ];
        for value in values {
            for key in [&b"k"[..], b"\xfe", "schl\"\u{fc}ssel\n".as_bytes()] {
                let line = serde_json::to_vec(&RecordLine::new(key, value, 7, Some(9))).unwrap();
                let wanted = Wanted {
                    key: key.to_vec(),
                    value: value.to_vec(),
                    life: Life::Until(9),
                    version: Some(7),
                };
                assert_eq!(Wanted::parse(&line), Ok(wanted), "L1");
            }
        }
    }

    #[test]
    fn lines_of_people_are_read() {
        let wanted = Wanted::parse(br#" {"key": "a\u0062", "value": {"x": [1, 2]}, "ttl_ms": 5} "#);
        let wanted = wanted.unwrap();
        assert_eq!((&*wanted.key, &*wanted.value), (&b"ab"[..], &b"{\"x\":[1,2]}"[..]));
        assert_eq!((wanted.life, wanted.version), (Life::Ms(5), None));
        assert_eq!(Wanted::parse(br#"{"key":"a","value":null}"#).unwrap().value, b"null");
    }

    #[test]
    fn bad_lines_say_why() {
        for (line, word) in [
            (&b"{}"[..], "no key"),
            (b"{\"key\":\"a\"}", "no value"),
            (b"{\"key\":\"a\",\"value\":1,\"value_text\":\"\"}", "more than one value"),
            (b"{\"key\":\"a\",\"key_hex\":\"00\",\"value\":1}", "two keys"),
            (b"{\"key\":\"a\",\"value\":1,\"ttl_ms\":1,\"expires_at_ms\":1}", "expiry"),
            (b"{\"key\":\"a\",\"value\":1,\"ttl_ms\":-1}", "invalid"),
            (b"{\"key\":\"a\",\"value\":1,\"ttl\":1}", "ttl"),
            (b"{\"key\":\"a\",\"value_hex\":\"0\"}", "hex"),
            (b"{\"key\":1,\"value\":1}", "invalid"),
            (b"[", "EOF"),
            (b"\xff", "expected"),
        ] {
            let reason = Wanted::parse(line).unwrap_err();
            assert!(reason.contains(word), "{reason}");
        }
    }
}
