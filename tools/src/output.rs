//! Writing: JSON with its schema, tables of two columns, warnings.
//!
//! Nothing here lets through what moves a terminal's cursor, whoever it came from: a path, a key, a
//! word of a line that is quoted.

use crate::error::Failure;
use crate::shadow::Shadow;
use crate::text::{is_unprintable, shown};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;
use std::cell::Cell;
use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};

/// What every JSON document of this tool starts with.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Document<T> {
    /// The name of what this is: see `brindle schema`.
    schema: &'static str,
    /// The version of the command that wrote it.
    tool_version: &'static str,
    #[serde(flatten)]
    body: T,
}

/// Writes `body` as one line of JSON.
pub(crate) fn write_document(
    out: &mut dyn Write,
    schema: &'static str,
    body: impl Serialize,
) -> Result<(), Failure> {
    write_line(out, &Document { schema, tool_version: env!("CARGO_PKG_VERSION"), body })
}

/// Writes `body` as a line of JSON, without a schema: for lines that are data.
pub(crate) fn write_line(out: &mut dyn Write, body: &impl Serialize) -> Result<(), Failure> {
    let mut serializer = Serializer::with_formatter(&mut *out, Printable);
    body.serialize(&mut serializer).map_err(|error| Failure::Output(error.into()))?;
    out.write_all(b"\n").map_err(Failure::Output)
}

/// Compact JSON in which every character that `serde_json` would write raw, and a terminal could
/// take for an order, is escaped, too: all of them have four hex digits.
struct Printable;

impl Formatter for Printable {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, raw)) = rest.char_indices().find(|(_, c)| is_unprintable(*c)) {
            let (plain, behind) = rest.split_at_checked(at).unwrap_or((rest, ""));
            write!(writer, "{plain}\\u{:04x}", u32::from(raw))?;
            rest = behind.get(raw.len_utf8()..).unwrap_or_default();
        }
        writer.write_all(rest.as_bytes())
    }

    /// A value that is JSON as it is: such a character can only stand in a string of it.
    fn write_raw_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        self.write_string_fragment(writer, fragment)
    }
}

/// Writes a name and what it is, in two columns.
pub(crate) fn write_fact(
    out: &mut dyn Write,
    name: &str,
    fact: impl Display,
) -> Result<(), Failure> {
    writeln!(out, "{name:<18}{}", shown(&fact.to_string())).map_err(Failure::Output)
}

thread_local! {
    static IS_SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Keeps what this thread tells a person to itself: for who runs commands by the thousand.
pub(crate) fn silence() {
    IS_SILENT.set(true);
}

/// This thread was silenced.
pub(crate) fn is_silent() -> bool {
    IS_SILENT.get()
}

/// Tells a person what is odd and yet no reason to stop. A closed standard error is nothing.
pub(crate) fn warn(what: impl Display) {
    if is_silent() {
        return;
    }
    let _ = writeln!(io::stderr(), "brindle: {}", shown(&what.to_string()));
}

/// Tells a person what is odd about a shadow as a whole.
pub(crate) fn warn_of_oddities(shadow: &Shadow) {
    for oddity in &shadow.oddities {
        warn(format_args!("{} {}", oddity.path.display(), oddity.what));
    }
}

/// Tells a person why the command could not run, with every cause.
pub(crate) fn complain(failure: &Failure) {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    warn(text);
}
