//! What the pages draw with: colours where there are any, bars, courses, numbers.

use crate::text::Size;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// Heights of a column.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The colours of `map` for tenths: viridis among the 256.
const RAMP: [u8; 10] = [53, 54, 60, 61, 31, 36, 35, 77, 149, 227];

/// What something is drawn as. Without colours what is wrong is bold or reversed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    pub(super) has_color: bool,
}

impl Paint {
    fn color(self, color: Color) -> Style {
        if self.has_color { Style::new().fg(color) } else { Style::new() }
    }

    pub(super) fn name(self) -> Style {
        self.color(Color::Cyan)
    }

    pub(super) fn dim(self) -> Style {
        self.color(Color::Indexed(244))
    }

    pub(super) fn good(self) -> Style {
        self.color(Color::Green)
    }

    pub(super) fn odd(self) -> Style {
        self.color(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    pub(super) fn bad(self) -> Style {
        let reversed = Style::new().add_modifier(Modifier::REVERSED);
        if self.has_color { Style::new().fg(Color::White).bg(Color::Red) } else { reversed }
    }

    pub(super) fn chosen() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// A cell of the map: a digit for a tenth, or the letter of a state.
    pub(super) fn cell(self, cell: char) -> Style {
        let indexed =
            |ground: u8, ink: u8| Style::new().bg(Color::Indexed(ground)).fg(Color::Indexed(ink));
        if cell == '!' {
            return self.bad();
        }
        if !self.has_color {
            return Style::new();
        }
        match (cell.to_digit(10), cell) {
            (Some(tenth), _) => {
                let ground = RAMP.get(tenth as usize).copied().unwrap_or_default();
                indexed(ground, if tenth < 5 { 255 } else { 16 })
            }
            (None, 'u') => indexed(31, 255),
            (None, 'o') => indexed(77, 16),
            (None, 's') => indexed(149, 16),
            (None, 'd' | 'e') => indexed(178, 16),
            (None, 'q') => indexed(60, 255),
            _ => self.dim(),
        }
    }
}

/// A bar of so many columns, `part` of `whole` filled.
pub(super) fn bar(part: u64, whole: u64, columns: usize) -> String {
    let scaled = u128::from(part) * (columns as u128) / u128::from(whole.max(1));
    let filled = usize::try_from(scaled).unwrap_or(columns).min(columns);
    "█".repeat(filled) + &"░".repeat(columns - filled)
}

/// `values` as columns, the highest of them as high as can be, at the right of `columns`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an eighth, which is clamped"
)]
pub(super) fn course(values: &[f64], columns: usize) -> String {
    let highest = values.iter().copied().fold(0.0, f64::max);
    let missing = columns.saturating_sub(values.len());
    let shown = values.iter().skip(values.len().saturating_sub(columns)).map(|value| {
        let share = if highest > 0.0 { value / highest } else { 0.0 };
        let height = (share * 7.0).round().clamp(0.0, 7.0) as usize;
        HEIGHTS.get(height).copied().unwrap_or(' ')
    });
    " ".repeat(missing) + &shown.collect::<String>()
}

/// A whole number, in groups of three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate of things.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
pub(super) fn rate(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}") } else { grouped(rate.round() as u64) }
}

/// A rate of bytes.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
pub(super) fn byte_rate(rate: f64) -> String {
    format!("{}/s", rounded(rate as u64))
}

/// A size, with one digit behind the point at most, whatever it is.
pub(super) fn rounded(bytes: u64) -> String {
    // Sizes that are whole in a small unit would show all their digits.
    let unit = [1_u64 << 40, 1 << 30, 1 << 20, 1 << 10].into_iter().find(|unit| bytes >= *unit);
    let step = unit.map_or(1, |unit| unit / 16);
    Size(bytes / step * step).to_string()
}

/// A time.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn time(nanos: u64) -> String {
    let steps = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")];
    let Some((unit, name)) = steps.into_iter().find(|(unit, _)| nanos >= *unit) else {
        return format!("{nanos} ns");
    };
    let figure = nanos as f64 / unit as f64;
    if figure < 10.0 { format!("{figure:.1} {name}") } else { format!("{figure:.0} {name}") }
}

pub(super) fn percent(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(whole.max(1))).unwrap_or(u64::MAX)
}

/// Columns of the name of a fact.
const NAME: usize = 12;

/// A name and what it is.
pub(super) fn fact(
    paint: Paint,
    name: &str,
    what: impl Into<String>,
    style: Style,
) -> Line<'static> {
    Line::from(vec![
        Span::styled(format!("{name:<NAME$}"), paint.name()),
        Span::styled(what.into(), style),
    ])
}

/// The same over several lines, if need be.
pub(super) fn wrapped(
    paint: Paint,
    width: usize,
    name: &str,
    text: &str,
    style: Style,
) -> Vec<Line<'static>> {
    let columns = width.saturating_sub(NAME).max(8);
    let mut rows = vec![String::new()];
    for word in text.split_whitespace() {
        match rows.last_mut() {
            Some(row) if row.is_empty() => row.push_str(word),
            Some(row) if row.chars().count() + 1 + word.chars().count() <= columns => {
                row.push(' ');
                row.push_str(word);
            }
            _ => rows.push(word.to_owned()),
        }
    }
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    names.zip(rows).map(|(name, row)| fact(paint, name, row, style)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.25, 9.9, 10.4].map(rate), ["0", "0.2", "9.9", "10"]);
        assert_eq!(
            [999, 1_200, 54_321, 7_000_000_000].map(time),
            ["999 ns", "1.2 µs", "54 µs", "7.0 s"]
        );
        assert_eq!([0, 1_023, 1_025, 5 << 20].map(rounded), ["0 B", "1023 B", "1 KiB", "5 MiB"]);
        assert_eq!(rate(f64::MAX), grouped(u64::MAX));
    }

    #[test]
    fn bars_and_courses_have_their_width() {
        assert_eq!(
            (bar(1, 2, 4), bar(9, 2, 3), bar(0, 0, 2)),
            ("██░░".into(), "███".into(), "░░".into())
        );
        assert_eq!(bar(u64::MAX, u64::MAX, 2), "██");
        assert_eq!(course(&[0.0, 50.0, 100.0], 5), "  ▁▅█");
        assert_eq!(course(&[0.0, 0.0], 1), "▁");
        assert_eq!(course(&[1.0], 0), "");
        assert_eq!(course(&[f64::NAN, f64::INFINITY, -1.0], 3).chars().count(), 3);
    }
}
