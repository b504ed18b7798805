//! The page of reclaim: what holds the space, what gives it back, and what that costs.

use super::history::{History, Rates};
use super::paint::{Paint, bar, byte_rate, course, fact, grouped, percent, rate, rounded};
use super::snapshot::Snapshot;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Columns of a name, of a sum and of a rate.
const NAME: usize = 12;
const SUM: usize = 15;
const RATE: usize = 13;

pub(super) fn lines(
    paint: Paint,
    history: &History,
    last: &Snapshot,
    width: usize,
) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled("what holds the space", paint.dim())];
    lines.extend(holders(paint, last, width));
    lines.push(Line::default());
    let title = format!("{:NAME$}{:>SUM$}{:>RATE$}", "", "since the open", "a second");
    lines.push(Line::styled(title, paint.dim()));
    lines.extend(workers(paint, history, last, width));
    lines.push(Line::default());
    let reclaim = &last.stats.reclaim;
    let tombstones = format!(
        "{}; {} held by an older copy; {} rounds of the raider",
        grouped(last.stats.tombstones),
        grouped(reclaim.tombstones_pinned),
        grouped(reclaim.raids)
    );
    let waiting = format!(
        "{} for pins, {} for a flush (wblocks)",
        grouped(reclaim.waiting_for_pins),
        grouped(reclaim.waiting_for_barrier)
    );
    let (pace, style) = if reclaim.is_pressed {
        ("without pauses: free wblocks run short", paint.odd())
    } else {
        ("with pauses", Style::new())
    };
    let limit = format!("wblocks below {}% live", last.limits.defrag_lwm_pct);
    lines.extend([
        fact(paint, "amplified", amplification(history), Style::new()),
        fact(paint, "tombstones", tombstones, Style::new()),
        fact(paint, "waiting", waiting, Style::new()),
        fact(paint, "pace", pace, style),
        fact(paint, "takes", limit, Style::new()),
    ]);
    lines
}

fn holders(paint: Paint, last: &Snapshot, width: usize) -> Vec<Line<'static>> {
    let (stats, runway) = (&last.stats, &last.stats.runway);
    let size = stats.data_size_bytes;
    let free = runway.free_wblocks.saturating_mul(stats.wblock_bytes.into());
    let parts = [
        ("live", runway.live_bytes),
        ("dead", runway.dead_bytes),
        ("pins", runway.pin_wait_bytes),
        ("barrier", runway.barrier_wait_bytes),
        ("free", free),
    ];
    let columns = width.saturating_sub(NAME + 20).min(50);
    let line = |(name, bytes): (&str, u64)| {
        let text = format!(" {:>3}% {:>10}", percent(bytes, size), rounded(bytes));
        fact(paint, name, bar(bytes, size, columns) + &text, Style::new())
    };
    parts.into_iter().map(line).collect()
}

fn workers(paint: Paint, history: &History, last: &Snapshot, width: usize) -> Vec<Line<'static>> {
    type Get = fn(&Rates) -> Option<f64>;
    let reclaim = &last.stats.reclaim;
    let columns = width.saturating_sub(NAME + SUM + RATE + 2);
    let bytes: Get = |rates| Some(rates.moved_bytes);
    let counts: [(&str, u64, Get); 3] = [
        ("freed", reclaim.freed_wblocks, |rates| Some(rates.freed_wblocks)),
        ("expired", reclaim.expired, |rates| Some(rates.expired)),
        ("evicted", reclaim.evicted, |rates| Some(rates.evicted)),
    ];
    let line = |name: &str, sum: String, (now, get): (String, Get)| {
        Line::from(vec![
            Span::styled(format!("{name:<NAME$}"), paint.name()),
            Span::raw(format!("{sum:>SUM$}{now:>RATE$}  ")),
            Span::styled(course(&history.course(columns, get), columns), paint.good()),
        ])
    };
    let now = |get: Get, show: fn(f64) -> String| {
        history.rates().and_then(get).map_or_else(|| "-".to_owned(), show)
    };
    let mut lines =
        vec![line("moved", rounded(reclaim.moved_bytes), (now(bytes, byte_rate), bytes))];
    for (name, sum, get) in counts {
        lines.push(line(name, grouped(sum), (now(get, rate), get)));
    }
    lines
}

/// Bytes put and moved over bytes put.
fn amplification(history: &History) -> String {
    let Some(rates) = history.rates() else { return "-".to_owned() };
    let put = rates.appended_bytes - rates.moved_bytes;
    if put < 1.0 {
        return "nothing is put".to_owned();
    }
    format!("{:.2} bytes are appended for each that is put", rates.appended_bytes / put)
}
