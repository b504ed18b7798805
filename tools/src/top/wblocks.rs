//! The page of wblocks: a map of all of them, as large as the screen allows, and the stripes.

use super::paint::{Paint, bar, percent};
use super::snapshot::{Snapshot, StripeMap};
use crate::text::shown;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Columns of the number that a row starts with.
const NUMBER: usize = 8;

/// What the cells show, and how many columns there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cells {
    pub(super) states: bool,
    pub(super) width: usize,
}

pub(super) fn lines(
    paint: Paint,
    last: &Snapshot,
    cells: Cells,
    height: usize,
) -> Vec<Line<'static>> {
    let columns = cells.width.saturating_sub(NUMBER).max(1);
    let stripes = &last.map.stripes;
    // A title, a legend, and a line for each of the first stripes below.
    let rows = height.saturating_sub(2 + stripes.len().min(4)).max(1);
    let rows_each = (rows / stripes.len().max(1)).max(1);
    let most = stripes.iter().map(|stripe| stripe.states.chars().count()).max().unwrap_or(0);
    let merged = most.div_ceil(rows_each * columns).max(1);
    let wblocks = u64::from(last.map.wblocks_a_cell).saturating_mul(merged as u64);
    let what = if cells.states { "state" } else { "live share" };
    let group = if wblocks > 1 { format!("; a cell is {wblocks} wblocks") } else { String::new() };
    let mut lines = vec![Line::styled(format!("{what} of each wblock{group}"), paint.dim())];
    for stripe in stripes {
        let text = if cells.states { &stripe.states } else { &stripe.live };
        let text = merge(text, merged);
        for (n, row) in text.chunks(columns).enumerate() {
            let name = if n == 0 { format!("{:<NUMBER$}", stripe.stripe) } else { " ".repeat(8) };
            let mut spans = vec![Span::styled(name, paint.name())];
            spans.extend(row.iter().map(|cell| {
                let safe = shown(cell.encode_utf8(&mut [0; 4])).into_owned();
                Span::styled(safe, paint.cell(*cell))
            }));
            lines.push(Line::from(spans));
        }
    }
    lines.push(legend(paint, cells.states));
    lines.extend(stripes.iter().map(|stripe| of_stripe(paint, last, stripe, cells.width)));
    lines
}

/// A cell for every `group`: of digits the mean, else what most of them are; damage, if any.
fn merge(cells: &str, group: usize) -> Vec<char> {
    let cells: Vec<char> = cells.chars().collect();
    let merged = cells.chunks(group).map(|cells| {
        if cells.contains(&'!') {
            return '!';
        }
        let tenths: Vec<u32> = cells.iter().filter_map(|cell| cell.to_digit(10)).collect();
        if tenths.len() * 2 >= cells.len() && !tenths.is_empty() {
            let count = u32::try_from(cells.len()).unwrap_or(u32::MAX);
            return char::from_digit(tenths.iter().sum::<u32>() / count, 10).unwrap_or('9');
        }
        let others = || cells.iter().filter(|cell| !cell.is_ascii_digit());
        let most = others().max_by_key(|cell| others().filter(|other| other == cell).count());
        most.copied().unwrap_or('.')
    });
    merged.collect()
}

fn legend(paint: Paint, states: bool) -> Line<'static> {
    let live = [('0', "under 10% live"), ('9', "90% and more"), ('.', "free"), ('q', "waits")];
    let all = [
        ('o', "open"),
        ('s', "sealed"),
        ('u', "used"),
        ('d', "defrag"),
        ('e', "emptying"),
        ('q', "quarantined"),
        ('.', "free"),
    ];
    let marks: &[(char, &str)] = if states { &all } else { &live };
    let mut spans = Vec::new();
    for (mark, meaning) in marks.iter().chain(&[('!', "bad")]) {
        spans.push(Span::styled(mark.to_string(), paint.cell(*mark)));
        spans.push(Span::raw(format!(" {meaning}  ")));
    }
    spans.push(Span::styled("m: the other", paint.dim()));
    Line::from(spans)
}

fn of_stripe(paint: Paint, last: &Snapshot, stripe: &StripeMap, width: usize) -> Line<'static> {
    let bytes = stripe.wblocks.total().saturating_mul(last.stats.wblock_bytes.into());
    let counts = stripe.wblocks.named().into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, name)| format!("{count} {name}")).collect();
    let text = format!(
        " {:>3}% live, {:>2}% dead; {}",
        percent(stripe.live_bytes, bytes),
        percent(stripe.dead_bytes, bytes),
        counts.join(", ")
    );
    let columns = width.saturating_sub(12 + text.chars().count()).min(10);
    let name = format!("stripe {:<5}", stripe.stripe);
    let style =
        if stripe.wblocks.damaged + stripe.wblocks.bad > 0 { paint.odd() } else { Style::new() };
    Line::from(vec![
        Span::styled(name, paint.name()),
        Span::styled(bar(stripe.live_bytes, bytes, columns) + &text, style),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_cells_show_the_mean_and_any_damage() {
        let merged = |cells, group| merge(cells, group).into_iter().collect::<String>();
        assert_eq!(merged("0099..9.q", 1), "0099..9.q");
        assert_eq!(merged("0099..9.q", 2), "09.4q");
        assert_eq!(merged("uuo.!u..", 4), "u!");
        assert_eq!(merged("", 4), "");
    }
}
