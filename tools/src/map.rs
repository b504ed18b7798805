//! `map`: every wblock as a cell.

use crate::args::{ColorChoice, MapArgs, Paint};
use crate::error::{Failure, Outcome};
use crate::output::write_document;
use crate::picture::{LEVELS, Mark, Panel, Picture};
use crate::progress::Progress;
use crate::shadow::Shadow;
use crate::survey::Survey;
use crate::svg;
use crate::text::shown;
use anstyle::{Ansi256Color, Color, Style};
use schemars::JsonSchema;
use serde::Serialize;
use std::fs;
use std::io::{self, Write};

const COLUMNS: u16 = 64;
/// Colours of a terminal for the levels: viridis among the 256.
const RAMP: [u8; LEVELS as usize] = [53, 54, 60, 61, 31, 36, 35, 77, 149, 227];

/// `brindle-map/1`: the cells of a map.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MapReport {
    /// What the cells show: `live`, `state`, `age` or `damage`.
    by: String,
    /// Wblocks that a cell stands for, at most.
    wblocks_a_cell: u32,
    panels: Vec<PanelReport>,
}

/// The cells of one file or device.
#[derive(Debug, Serialize, JsonSchema)]
struct PanelReport {
    path: String,
    stripe: u32,
    /// A character for each cell: a digit for the tenth that is live (or of the age), `.` free,
    /// `-` struck out, `#` in use or whole, `t` torn, `!` damaged or unusable.
    cells: String,
}

/// `brindle map`.
pub(crate) fn run(args: &MapArgs, is_json: bool, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let shadow = Shadow::open_part(&args.paths)?;
    let survey = match args.by {
        Paint::State | Paint::Age => Survey::of_headers(&shadow)?,
        Paint::Live | Paint::Damage => {
            let progress = Progress::new("reading", Some(shadow.wblock_bytes_total()));
            Survey::deep(&shadow, &progress)?
        }
    };
    let picture = Picture::new(&shadow, &survey, args.by);
    if let Some(path) = &args.svg {
        let failed = |source| Failure::File { op: "write", path: path.clone(), source };
        fs::write(path, svg::map(&picture, true)).map_err(failed)?;
    }
    if is_json {
        write_document(out, "brindle-map/1", MapReport::of(&picture))?;
    } else {
        let has_color = has_color(args.color);
        write_map(out, &picture, args.width.unwrap_or(COLUMNS), has_color)
            .map_err(Failure::Output)?;
    }
    Ok(Outcome::Good)
}

fn has_color(choice: ColorChoice) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
        }
    }
}

impl MapReport {
    fn of(picture: &Picture) -> Self {
        let panels = picture.panels.iter().map(|panel| PanelReport {
            path: panel.path.clone(),
            stripe: panel.stripe,
            cells: panel.cells.iter().map(|cell| cell.mark.glyph()).collect(),
        });
        let by = format!("{:?}", picture.paint).to_lowercase();
        Self { by, wblocks_a_cell: picture.group, panels: panels.collect() }
    }
}

fn write_map(
    out: &mut dyn Write,
    picture: &Picture,
    width: u16,
    has_color: bool,
) -> io::Result<()> {
    writeln!(out, "{}", picture.title())?;
    for panel in &picture.panels {
        write_panel(out, panel, picture.group, (width, has_color))?;
    }
    for (n, (mark, meaning)) in picture.legend().into_iter().enumerate() {
        write!(out, "{}", if n == 0 { "" } else { "  " })?;
        write_cell(out, mark, has_color)?;
        write!(out, " {meaning}")?;
    }
    writeln!(out)?;
    if picture.group > 1 {
        writeln!(out, "a cell is {} wblocks", picture.group)?;
    }
    Ok(())
}

fn write_panel(
    out: &mut dyn Write,
    panel: &Panel,
    group: u32,
    (width, has_color): (u16, bool),
) -> io::Result<()> {
    writeln!(out, "stripe {}, {}", panel.stripe, shown(&panel.path))?;
    for row in panel.cells.chunks(width.into()) {
        let first = row.first().map_or(0, |cell| cell.first);
        write!(out, "{first:>8}  ")?;
        for cell in row {
            write_cell(out, cell.mark, has_color)?;
        }
        let wblocks: u64 = row.iter().map(|cell| u64::from(cell.wblocks)).sum();
        let last = (u64::from(first) + wblocks).saturating_sub(1);
        writeln!(out, "{}", if group > 1 { format!("  ..={last}") } else { String::new() })?;
    }
    Ok(())
}

fn write_cell(out: &mut dyn Write, mark: Mark, has_color: bool) -> io::Result<()> {
    let glyph = mark.glyph();
    if !has_color {
        return write!(out, "{glyph}");
    }
    let ansi = |color: u8| Some(Color::Ansi256(Ansi256Color(color)));
    let style = match mark {
        Mark::Level(level) => {
            let ground = RAMP.get(usize::from(level)).copied().unwrap_or_default();
            let ink = if level < LEVELS / 2 { 255 } else { 16 };
            Style::new().bg_color(ansi(ground)).fg_color(ansi(ink))
        }
        Mark::Free | Mark::StruckOut => Style::new().fg_color(ansi(244)),
        Mark::Used => Style::new().bg_color(ansi(31)).fg_color(ansi(255)),
        Mark::Torn => Style::new().bg_color(ansi(178)).fg_color(ansi(16)),
        Mark::Bad => Style::new().bg_color(ansi(160)).fg_color(ansi(255)).bold(),
    };
    write!(out, "{style}{glyph}{style:#}")
}
