//! `Config` from TOML, and from whatever else serde reads.
//!
//! `from_toml` walks the parsed document itself, because only so does each entry still know its
//! line; `Deserialize` serves a host that keeps the store's keys inside its own configuration.
//! Both set keys through the table in `keys`.
#![forbid(unsafe_code)]

use super::Config;
use super::keys::KEYS;
use super::value::Value;
use crate::error::{Error, Result};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use std::fmt;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// The key that an error names where the text as a whole is wrong.
const WHOLE_TEXT: &str = "toml";

impl Config {
    /// Reads a configuration from TOML: keys at the top level, all of them optional.
    ///
    /// - Sizes are whole numbers of bytes, or strings with a binary unit: `"64MiB"`, `"8 KiB"`,
    ///   `"512B"`. Decimal units (`"64MB"`) are refused, because they are mostly meant binary.
    /// - Durations are strings with a unit: `"1000us"`, `"250ms"`, `"1s"`, `"10min"`, `"2h"`,
    ///   `"30d"`. `flush_max_ms` is a whole number, as its name says.
    /// - Choices are strings in lower case: `huge_pages = "explicit"`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the key and the line: for text that is not TOML, an unknown key
    /// (with the nearest known one), or a value of the wrong type. What the values mean together
    /// is checked by `Store::open`.
    ///
    /// # Examples
    ///
    /// ```
    /// let config = brindle::Config::from_toml(
    ///     r#"
    ///     data_size = "1GiB"
    ///     shadow_dir = "data"
    ///     default_ttl = "2h"
    ///     "#,
    /// )?;
    /// # Ok::<(), brindle::Error>(())
    /// ```
    pub fn from_toml(text: &str) -> Result<Self> {
        read(text, None)
    }

    /// Reads a configuration from a TOML file, as [`from_toml`](Self::from_toml) does.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read, else as `from_toml`, with the file named too.
    pub fn from_toml_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| Error::Io {
            op: "read",
            path: path.to_owned(),
            source,
        })?;
        let text = str::from_utf8(&bytes).map_err(|error| {
            let line = line(&bytes, error.valid_up_to());
            Error::config(WHOLE_TEXT, located("is not UTF-8", line, Some(path)))
        })?;
        read(text, Some(path))
    }
}

fn read(text: &str, file: Option<&Path>) -> Result<Config> {
    let document = DeTable::parse(text).map_err(|error| malformed(text, &error, file))?;
    let mut entries: Vec<_> = document.into_inner().into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries.into_iter().try_fold(Config::new(), |config, (key, value)| {
        let line = line(text.as_bytes(), value.span().start);
        let name = key.into_inner();
        config
            .set(&name, value.into_inner().into())
            .map_err(|reason| Error::config(name, located(&reason, line, file)))
    })
}

/// The error for text that is not TOML. Names the key of the line where that can be told: the
/// usual mistake is a size or a path without its quotes.
fn malformed(text: &str, error: &toml::de::Error, file: Option<&Path>) -> Error {
    let start = error.span().map_or(0, |span| span.start);
    let line = line(text.as_bytes(), start);
    let typed = text.split('\n').nth(line - 1).and_then(|entry| entry.split('=').next());
    let key = KEYS.iter().find(|key| typed.is_some_and(|typed| typed.trim() == **key));
    let reason = format!("is not valid TOML, {}", error.message().replace('\n', ", "));
    match key {
        Some(key) => {
            let hint = "sizes, durations, paths and names stand in quotes, and each key once";
            Error::config(*key, format!("{}: {hint}", located(&reason, line, file)))
        }
        None => Error::config(WHOLE_TEXT, located(&reason, line, file)),
    }
}

/// Number of the line that holds byte `place`, counted from 1.
fn line(text: &[u8], place: usize) -> usize {
    1 + text.iter().take(place).filter(|byte| **byte == b'\n').count()
}

/// `reason`, with the place that it is about.
fn located(reason: &str, line: usize, file: Option<&Path>) -> String {
    match file {
        Some(file) => format!("{reason} (line {line} of {})", file.display()),
        None => format!("{reason} (line {line})"),
    }
}

impl From<DeValue<'_>> for Value {
    fn from(value: DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.into_owned()),
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
                .map_or(Self::Other("a number of that size"), Self::Whole),
            DeValue::Boolean(flag) => Self::Flag(flag),
            DeValue::Array(items) => {
                Self::List(items.into_iter().map(|item| item.into_inner().into()).collect())
            }
            DeValue::Float(_) => Self::Other("a fraction"),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Table(_) => Self::Other("a table"),
        }
    }
}

/// Unknown keys are refused, as by [`Config::from_toml`]. Not for formats that do not describe
/// themselves.
impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("Config", KEYS, Keys)
    }
}

/// Sets one key after the other.
struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Config;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a table of configuration keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Config, A::Error> {
        let mut config = Config::new();
        let mut seen: Vec<String> = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            let refuse = |reason| de::Error::custom(Error::config(&*key, reason));
            if seen.contains(&key) {
                return Err(refuse("is there twice: set it once".to_owned()));
            }
            let value = entries.next_value::<Value>()?;
            config = config.set(&key, value).map_err(refuse)?;
            seen.push(key);
        }
        Ok(config)
    }
}
