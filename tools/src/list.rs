//! `ls`: every live record, as a line for people or as a line of JSON.

use crate::args::ListArgs;
use crate::error::{Failure, Outcome};
use crate::line::KeyText;
use crate::live::{Wish, for_each_live};
use crate::output::write_line;
use crate::shadow::Shadow;
use crate::text::{Instant, Size, shown_key};
use crate::winners::Note;
use brindle::format::RecordView;
use schemars::JsonSchema;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

/// A line of `ls --json`: a record without its value.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KeyLine<'a> {
    #[serde(flatten)]
    key: KeyText<'a>,
    version: u64,
    value_bytes: usize,
    /// Microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_us: Option<u64>,
}

/// `brindle ls`.
pub(crate) fn run(args: &ListArgs, is_json: bool, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let shadow = Shadow::open_store(&args.paths)?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    if left == 0 {
        return Ok(Outcome::Good);
    }
    let shows_data = io::stdout().is_terminal();
    let wish = Wish { prefix: &args.prefix.0, note: Note::Copies, shows_data };
    for_each_live(&shadow, wish, |view, _| {
        if is_json {
            write_line(out, &key_line(view))?;
        } else {
            write_row(out, view).map_err(Failure::Output)?;
        }
        left -= 1;
        Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(Outcome::Good)
}

fn key_line<'a>(view: &RecordView<'a>) -> KeyLine<'a> {
    KeyLine {
        key: view.key().into(),
        version: view.version().into(),
        value_bytes: view.value().len(),
        expires_at_us: view.expires_at(),
    }
}

fn write_row(out: &mut dyn Write, view: &RecordView<'_>) -> io::Result<()> {
    let bytes = Size(view.value().len() as u64).to_string();
    write!(out, "{:>20}  {bytes:>10}  {}", view.version(), shown_key(view.key()))?;
    if let Some(expires) = view.expires_at() {
        write!(out, "  (until {})", Instant(expires))?;
    }
    writeln!(out)
}
