//! A value as it was written, and the types that keys want of it.
//!
//! TOML and `Deserialize` both end here, so that a key reads the same from either.
#![forbid(unsafe_code)]

use super::{duration, size};
use serde::de::{
    Deserialize, Deserializer, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What was written after a key.
#[derive(Clone, Debug)]
pub enum Value {
    /// A whole number.
    Whole(i128),
    /// A string.
    Text(String),
    /// `true` or `false`.
    Flag(bool),
    /// Several values.
    List(Vec<Value>),
    /// What no key takes, by its name.
    Other(&'static str),
}

/// The type that a key wants, or why the value is not of it.
type Read<T> = Result<T, String>;

impl Value {
    /// A whole number, in the width of the key.
    pub fn whole<T: TryFrom<i128>>(self) -> Read<T> {
        let Self::Whole(number) = self else { return self.refuse("a whole number") };
        T::try_from(number).map_err(|_| {
            let fault = if number < 0 { "below 0" } else { "too large" };
            format!("is {number}, which is {fault}")
        })
    }

    /// A share in percent; how far it may go is for `validate` to say.
    pub fn percent(self) -> Read<u8> {
        let Self::Whole(number) = self else { return self.refuse("a whole number of percent") };
        u8::try_from(number).map_err(|_| format!("is {number}: set 0 to 100"))
    }

    /// A number of bytes, plain or as text.
    pub fn size(self) -> Read<u64> {
        match self {
            Self::Whole(_) => self.whole(),
            Self::Text(text) => size::parse(&text),
            Self::Flag(_) | Self::List(_) | Self::Other(_) => {
                self.refuse("a size such as \"64MiB\", or a number of bytes")
            }
        }
    }

    /// A duration as text; a bare number would leave the unit open.
    pub fn duration(self) -> Read<Duration> {
        let Self::Text(text) = self else { return self.refuse("a duration such as \"250ms\"") };
        duration::parse(&text)
    }

    /// `true` or `false`.
    pub fn flag(self) -> Read<bool> {
        let Self::Flag(flag) = self else { return self.refuse("true or false") };
        Ok(flag)
    }

    /// A path.
    pub fn path(self) -> Read<PathBuf> {
        let Self::Text(text) = self else { return self.refuse("a path in quotes") };
        Ok(text.into())
    }

    /// Paths.
    pub fn paths(self) -> Read<Vec<PathBuf>> {
        let Self::List(items) = self else { return self.refuse("a list of paths") };
        items.into_iter().map(Self::path).collect()
    }

    /// One of the names of an enum.
    pub fn choice<T: for<'de> Deserialize<'de>>(self) -> Read<T> {
        let Self::Text(text) = self else { return self.refuse("a name in quotes") };
        let named: Result<T, serde::de::value::Error> = T::deserialize(text.into_deserializer());
        named.map_err(|error| error.to_string().replace("unknown variant", "does not know"))
    }

    fn refuse<T>(&self, wanted: &str) -> Read<T> {
        let found = match self {
            Self::Whole(_) => "a whole number",
            Self::Text(_) => "a string",
            Self::Flag(_) => "true or false",
            Self::List(_) => "a list",
            Self::Other(name) => name,
        };
        Err(format!("takes {wanted}, not {found}"))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

/// Takes whatever there is: what fits is for the key to say.
struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value of a configuration key")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Whole(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Whole(number.into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other("a fraction"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other("nothing"))
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Other("nothing"))
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        Value::deserialize(inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other("a table"))
    }
}
