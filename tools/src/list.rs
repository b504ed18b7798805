//! `ls` and `export`: every live record, as a line for people or as a line of JSON.

use crate::args::{ExportArgs, ListArgs};
use crate::error::{Failure, Outcome};
use crate::line::{KeyText, RecordLine};
use crate::live::{Wish, for_each_live};
use crate::output::write_line;
use crate::shadow::Shadow;
use crate::text::{Instant, Size, shown_key};
use crate::winners::Note;
use brindle::format::RecordView;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

/// A record without its value.
#[derive(Debug, Serialize)]
struct KeyLine<'a> {
    #[serde(flatten)]
    key: KeyText<'a>,
    version: u64,
    value_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_us: Option<u64>,
}

/// `brindle ls`.
pub(crate) fn run_ls(
    args: &ListArgs,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let shadow = Shadow::open_store(&args.paths)?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    if left == 0 {
        return Ok(Outcome::Good);
    }
    for_each_live(&shadow, wish(&args.prefix.0), |view, _| {
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

/// `brindle export`.
pub(crate) fn run_export(args: &ExportArgs, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let shadow = Shadow::open_store(&args.paths)?;
    for_each_live(&shadow, wish(b""), |view, _| {
        write_line(out, &RecordLine::of(view))?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(Outcome::Good)
}

fn wish(prefix: &[u8]) -> Wish<'_> {
    Wish { prefix, note: Note::Copies, shows_data: io::stdout().is_terminal() }
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
