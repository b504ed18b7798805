//! `get`: the value of one key.

use crate::args::GetArgs;
use crate::error::{Failure, Outcome};
use crate::line::RecordLine;
use crate::live::{Found, find};
use crate::output::{warn, write_document};
use crate::shadow::Shadow;
use crate::text::{is_unprintable, shown_key};
use std::io::{self, IsTerminal, Write};

/// `brindle get`.
pub(crate) fn run(args: &GetArgs, is_json: bool, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let Some(key) = args.key_bytes() else {
        return Err(Failure::Usage("the key is not written in pairs of hex digits".to_owned()));
    };
    let shadow = Shadow::open_store(&args.paths)?;
    let Some(found) = find(&shadow, &key)? else {
        warn(format_args!("no live record of {}", shown_key(&key)));
        return Ok(Outcome::Bad);
    };
    if is_json {
        let Found { value, version, expires_at, .. } = &found;
        write_document(out, "brindle-get/1", RecordLine::new(&key, value, *version, *expires_at))?;
    } else {
        write_value(out, &found.value).map_err(Failure::Output)?;
    }
    Ok(Outcome::Good)
}

/// The bytes as they are; on a terminal as text, and escaped if they are none.
fn write_value(out: &mut dyn Write, value: &[u8]) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        return out.write_all(value);
    }
    let is_shown = |c: char| !is_unprintable(c) || matches!(c, '\n' | '\t');
    match std::str::from_utf8(value) {
        Ok(text) if text.chars().all(is_shown) => writeln!(out, "{text}"),
        _ => writeln!(out, "{}", value.escape_ascii()),
    }
}
