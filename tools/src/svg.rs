//! Pictures as SVG: maps of wblocks. Colours are classes, so that they follow the reader's choice
//! of light or dark, and no colour alone carries a meaning: damage has a cross.
//!
//! The ramp is a part of viridis, which those who do not tell red from green can read, too.

use crate::picture::{Cell, LEVELS, Mark, Panel, Picture};
use crate::text::shown;
use std::fmt::{self, Write};

/// Width of every picture, in its own units.
pub(crate) const WIDTH: u32 = 960;
/// Pictures with more cells have no words for each.
const TITLES_MAX: usize = 6_000;

/// The style of all pictures: for a file of its own, and once for a page with several.
pub(crate) const STYLE: &str = "\
.t{font:14px system-ui,sans-serif;fill:#1b1b1f}.s{font:12px system-ui,sans-serif;fill:#5c5f66}\
.l0{fill:#440154}.l1{fill:#482878}.l2{fill:#3e4a89}.l3{fill:#31688e}.l4{fill:#26828e}\
.l5{fill:#1f9e89}.l6{fill:#35b779}.l7{fill:#6ece58}.l8{fill:#b5de2b}.l9{fill:#fde725}\
.free{fill:#eceef1}.struck{fill:#cfd3d9}.used{fill:#31688e}.torn{fill:#c9a227}.bad{fill:#d00000}\
.x{stroke:#fff;stroke-width:1.5}.grid{stroke:#d9dce1;stroke-width:1}.axis{stroke:#8a8f98}\
.bar{fill:#31688e}.c0{stroke:#31688e}.c1{stroke:#c2410c}.c2{stroke:#1f7a4d}.c3{stroke:#7c3aed}\
.c0,.c1,.c2,.c3{fill:none;stroke-width:2}\
.k0{fill:#31688e}.k1{fill:#c2410c}.k2{fill:#1f7a4d}.k3{fill:#7c3aed}\
@media(prefers-color-scheme:dark){.l0{fill:#6b2a86}.l1{fill:#62499f}.l2{fill:#5566ad}\
.t{fill:#e6e7ea}.s{fill:#a0a4ad}.free{fill:#26292f}\
.struck{fill:#3a3f47}.grid{stroke:#343840}.bar,.used{fill:#4f9bd0}.bad{fill:#ff4d4d}\
.c0{stroke:#6cb6e8}.c1{stroke:#f59155}.c2{stroke:#57c08c}.c3{stroke:#b195f5}\
.k0{fill:#6cb6e8}.k1{fill:#f59155}.k2{fill:#57c08c}.k3{fill:#b195f5}}";

impl Mark {
    /// Its class in a picture.
    pub(crate) fn class(self) -> String {
        match self {
            Self::Level(level) => format!("l{}", level.min(LEVELS - 1)),
            Self::Free => "free".to_owned(),
            Self::StruckOut => "struck".to_owned(),
            Self::Used => "used".to_owned(),
            Self::Torn => "torn".to_owned(),
            Self::Bad => "bad".to_owned(),
        }
    }
}

/// `text` as it may stand between tags and in quoted attributes.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in shown(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            plain => safe.push(plain),
        }
    }
    safe
}

/// A whole file around `body`, which is `height` high.
pub(crate) fn document(height: u32, title: &str, body: &str, is_file: bool) -> String {
    let title = escaped(title);
    let (space, style) = if is_file {
        let ground =
            "svg{background:#fff}@media(prefers-color-scheme:dark){svg{background:#16181d}}";
        (" xmlns=\"http://www.w3.org/2000/svg\"", format!("<style>{STYLE}{ground}</style>"))
    } else {
        ("", String::new())
    };
    format!(
        "<svg{space} viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\
         {style}{body}</svg>"
    )
}

/// The map of wblocks; `is_file`: with a style of its own.
pub(crate) fn map(picture: &Picture, is_file: bool) -> String {
    let mut body = String::new();
    // A string takes everything.
    let height = write_map(&mut body, picture).unwrap_or_default();
    document(height, picture.title(), &body, is_file)
}

fn write_map(body: &mut String, picture: &Picture) -> Result<u32, fmt::Error> {
    let cells: usize = picture.panels.iter().map(|panel| panel.cells.len()).sum();
    let size = cell_size(cells);
    write!(body, "<text class=\"t\" x=\"0\" y=\"18\">{}</text>", escaped(picture.title()))?;
    let mut top = write_legend(body, picture)?;
    for panel in &picture.panels {
        let (stripe, path) = (panel.stripe, escaped(&panel.path));
        write!(
            body,
            "<text class=\"s\" x=\"0\" y=\"{}\">stripe {stripe}, {path}</text>",
            top + 16
        )?;
        top += 24;
        top += write_cells(body, &panel.cells, top, (size, cells <= TITLES_MAX))? + 8;
    }
    Ok(top)
}

/// The cells of one panel alone, without words around them.
pub(crate) fn panel(panel: &Panel, total: usize) -> String {
    let mut body = String::new();
    let style = (cell_size(total), total <= TITLES_MAX);
    let height = write_cells(&mut body, &panel.cells, 0, style).unwrap_or_default();
    document(height, "map of wblocks", &body, false)
}

/// The height that the cells take.
fn write_cells(
    body: &mut String,
    cells: &[Cell],
    top: u32,
    (size, has_titles): (u32, bool),
) -> Result<u32, fmt::Error> {
    let columns = (WIDTH / size).max(1);
    for (at, one) in (0..).zip(cells) {
        let (x, y) = (at % columns * size, top + at / columns * size);
        let (class, edge) = (one.mark.class(), size - u32::from(size > 3));
        write!(
            body,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{edge}\" height=\"{edge}\""
        )?;
        if has_titles {
            write!(body, "><title>{}</title></rect>", escaped(&one.title))?;
        } else {
            body.push_str("/>");
        }
        if one.mark == Mark::Bad && size > 5 {
            let (left, right, low, high) = (x + 2, x + edge - 2, y + 2, y + edge - 2);
            write!(
                body,
                "<path class=\"x\" d=\"M{left} {low}L{right} {high}M{right} {low}L{left} {high}\"/>"
            )?;
        }
    }
    let rows = u32::try_from(cells.len()).unwrap_or(u32::MAX).div_ceil(columns);
    Ok(rows * size)
}

/// Where the panels begin.
fn write_legend(body: &mut String, picture: &Picture) -> Result<u32, fmt::Error> {
    let mut x = 0;
    for (mark, meaning) in picture.legend() {
        let class = mark.class();
        write!(body, "<rect class=\"{class}\" x=\"{x}\" y=\"30\" width=\"12\" height=\"12\"/>")?;
        write!(body, "<text class=\"s\" x=\"{}\" y=\"41\">{meaning}</text>", x + 17)?;
        x += 36 + 7 * u32::try_from(meaning.len()).unwrap_or_default();
    }
    if picture.group > 1 {
        let group = picture.group;
        write!(body, "<text class=\"s\" x=\"0\" y=\"60\">a cell is {group} wblocks</text>")?;
        return Ok(66);
    }
    Ok(50)
}

/// Large cells for few wblocks, and some 600 units of height for many.
fn cell_size(cells: usize) -> u32 {
    let fits = |size: &u32| {
        let rows = cells.div_ceil((WIDTH / size) as usize);
        rows * *size as usize <= 600
    };
    (4..=24).rev().step_by(2).find(fits).unwrap_or(3)
}
