//! Writing: JSON with its schema, tables of two columns, warnings.

use crate::error::Failure;
use serde::Serialize;
use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};

/// What every JSON document of this tool starts with.
#[derive(Debug, Serialize)]
pub(crate) struct Document<T> {
    schema: &'static str,
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
    serde_json::to_writer(&mut *out, body).map_err(|error| Failure::Output(error.into()))?;
    out.write_all(b"\n").map_err(Failure::Output)
}

/// Writes a name and what it is, in two columns.
pub(crate) fn write_fact(
    out: &mut dyn Write,
    name: &str,
    fact: impl Display,
) -> Result<(), Failure> {
    writeln!(out, "{name:<18}{fact}").map_err(Failure::Output)
}

/// Tells a person what is odd and yet no reason to stop. A closed standard error is nothing.
pub(crate) fn warn(what: impl Display) {
    let _ = writeln!(io::stderr(), "brindle: {what}");
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
