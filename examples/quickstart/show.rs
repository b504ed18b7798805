//! What the person at the terminal sees: sections, sentences, a table; numbers with their units.
//!
//! The workspace forbids `println!`: it panics when the reader of a pipe has gone. Here that is no
//! error, so that `quickstart | head` ends as quietly as it should.

use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

/// Standard output.
pub struct Screen {
    out: io::Stdout,
    sections: u32,
}

impl Screen {
    pub fn new() -> Self {
        Self { out: io::stdout(), sections: 0 }
    }

    /// The next numbered section.
    pub fn section(&mut self, title: impl Display) -> io::Result<()> {
        self.sections += 1;
        let number = self.sections;
        self.write(format_args!("\n{number}  {title}"))
    }

    /// A sentence.
    pub fn line(&mut self, text: impl Display) -> io::Result<()> {
        self.write(format_args!("   {text}"))
    }

    /// Something that was checked, and held.
    pub fn held(&mut self, text: impl Display) -> io::Result<()> {
        self.write(format_args!("   ✓ {text}"))
    }

    /// A box with two columns.
    pub fn table(&mut self, rows: &[(&str, String)]) -> io::Result<()> {
        let width = |text: &str| text.chars().count();
        let left = rows.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
        let right = rows.iter().map(|(_, text)| width(text)).max().unwrap_or(0);
        let rule = |start: char, middle: char, end: char| {
            format!("{start}{}{middle}{}{end}", "─".repeat(left + 2), "─".repeat(right + 2))
        };
        self.write(format_args!("\n{}", rule('┌', '┬', '┐')))?;
        for (name, text) in rows {
            self.write(format_args!("│ {name:<left$} │ {text:<right$} │"))?;
        }
        self.write(rule('└', '┴', '┘'))
    }

    /// Writes a line; nobody reading is no error.
    pub fn write(&mut self, text: impl Display) -> io::Result<()> {
        match writeln!(self.out, "{text}") {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }
}

/// A progress bar over `bytes`, on standard error, and only where that is a terminal.
pub fn bar(what: &'static str, bytes: u64) -> ProgressBar {
    let template = "   {msg} {wide_bar} {bytes:>10} of {total_bytes}  {elapsed_precise}";
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_bad_template| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style).with_message(what)
}

/// `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 file`, `2 files`.
pub fn many(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", count(number))
}

/// `58.9 MiB`.
pub fn size(bytes: u64) -> String {
    in_units(bytes, [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")])
}

/// `1.23 µs`.
pub fn time(time: Duration) -> String {
    let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    in_units(ns, [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns")])
}

/// In the largest unit that `number` reaches, with three digits.
fn in_units(number: u64, units: [(u64, &str); 4]) -> String {
    let [.., smallest] = units;
    let (unit, name) = units.into_iter().find(|(unit, _)| number >= *unit).unwrap_or(smallest);
    let number = ratio(number, unit);
    let digits = match number {
        _ if unit == 1 => 0,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{number:.digits$} {name}")
}

/// `280 MiB/s`.
pub fn rate(bytes: u64, time: Duration) -> String {
    let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
    let per_second = u128::from(bytes) * 1_000_000_000 / u128::from(ns);
    format!("{}/s", size(u64::try_from(per_second).unwrap_or(u64::MAX)))
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
