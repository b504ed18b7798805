//! The first page: rates, latencies, space, and what an operator is to look after.

use super::history::{History, Rates, Speed};
use super::paint::{
    Paint, bar, byte_rate, course, fact, grouped, percent, rate, rounded, time, wrapped,
};
use super::snapshot::{Call, Calls, Health, Snapshot, Stats};
use crate::text::{Age, shown};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use std::fmt::Display;

/// Columns of a name, of a rate, and of each latency.
const NAME: usize = 10;
const RATE: usize = 13;
const LATENCY: usize = 9;
/// What an operator is told of: see `docs/operating.md`.
const PIN_MS: u64 = 1_000;
const RUNWAY_S: u64 = 60;

type Get = fn(&Rates) -> Option<f64>;
type Of = fn(&Calls) -> &Call;

pub(super) fn lines(
    paint: Paint,
    history: &History,
    last: &Snapshot,
    width: usize,
) -> Vec<Line<'static>> {
    let shows_all = width >= 100;
    let latencies = if width < 60 { 0 } else { 3 + usize::from(shows_all) };
    let columns = width.saturating_sub(NAME + RATE + 1 + latencies * LATENCY);
    let mut lines = vec![title(paint, last.calls.as_ref(), columns, latencies)];
    let calls: [(&str, Get, Of); 3] = [
        ("get", |rates| rates.get, |calls| &calls.get),
        ("put", |rates| rates.put, |calls| &calls.put),
        ("delete", |rates| rates.delete, |calls| &calls.delete),
    ];
    for (name, get, of) in calls {
        let now = history.rates().and_then(get).map_or_else(|| "-".to_owned(), rate);
        let mut line = rate_line(paint, (name, now), &history.course(columns, get), columns);
        let speed = history.speed(of);
        line.extend((latencies > 0).then(|| Span::raw(latencies_of(speed.as_ref(), shows_all))));
        lines.push(Line::from(line));
    }
    let bytes: [(&str, Get); 3] = [
        ("appended", |rates| Some(rates.appended_bytes)),
        ("moved", |rates| Some(rates.moved_bytes)),
        ("to disk", |rates| rates.written_bytes),
    ];
    for (name, get) in bytes {
        let now = history.rates().and_then(get).map_or_else(|| "-".to_owned(), byte_rate);
        let line = rate_line(paint, (name, now), &history.course(columns, get), columns);
        lines.push(Line::from(line));
    }
    lines.push(Line::default());
    lines.extend(space(paint, last, width));
    lines.push(Line::default());
    lines.extend(state(paint, history, last, width));
    lines
}

fn title(paint: Paint, calls: Option<&Calls>, columns: usize, latencies: usize) -> Line<'static> {
    let what = match calls {
        None => "calls are not measured by the host".to_owned(),
        Some(calls) if calls.one_of == 1 => "every call is measured".to_owned(),
        Some(calls) => format!("one call in {} is measured", calls.one_of),
    };
    let names: &[&str] =
        if latencies == 4 { &["p50", "p99", "p99.9", "max"] } else { &["p50", "p99", "max"] };
    let names = columns_of(names.iter().take(latencies));
    let left = NAME + RATE + 1 + columns;
    let what: String = format!("a second; {what}").chars().take(left).collect();
    Line::styled(format!("{what:<left$}{names}"), paint.dim())
}

fn rate_line(
    paint: Paint,
    (name, now): (&str, String),
    values: &[f64],
    columns: usize,
) -> Vec<Span<'static>> {
    vec![
        Span::styled(format!("{name:<NAME$}"), paint.name()),
        Span::raw(format!("{now:>RATE$} ")),
        Span::styled(course(values, columns), paint.good()),
    ]
}

fn latencies_of(speed: Option<&Speed>, shows_all: bool) -> String {
    let Some(speed) = speed else { return String::new() };
    let p99_9 = shows_all.then_some(speed.p99_9_ns);
    let times = [Some(speed.p50_ns), Some(speed.p99_ns), p99_9, Some(speed.max_ns)];
    columns_of(times.into_iter().flatten().map(time))
}

/// Each to the right of a column.
fn columns_of(texts: impl Iterator<Item = impl Display>) -> String {
    texts.fold(String::new(), |line, text| {
        let text = text.to_string();
        line + &format!("{text:>LATENCY$}")
    })
}

fn space(paint: Paint, last: &Snapshot, width: usize) -> Vec<Line<'static>> {
    let stats = &last.stats;
    let (live, size) = (stats.live_bytes, stats.data_size_bytes);
    let limit = match (last.limits.evict_used_pct, last.limits.stop_writes_used_pct) {
        (0, 0) => String::new(),
        (0, stop) => format!("; puts stop at {stop}%"),
        (evict, _) => format!("; evicts at {evict}%"),
    };
    let text = format!(" {}% live of {}{limit}", percent(live, size), rounded(size));
    let room = width.saturating_sub(12 + text.chars().count()).min(40);
    let wblocks = stats.wblocks.named().into_iter().filter(|(count, _)| *count > 0);
    let wblocks: Vec<String> =
        wblocks.map(|(count, name)| format!("{} {name}", grouped(count))).collect();
    let records = format!(
        "{}, and {} tombstones; index {}",
        grouped(stats.records),
        grouped(stats.tombstones),
        rounded(stats.index_bytes)
    );
    let text = bar(live, size, room) + &text;
    let mut lines = vec![
        fact(paint, "space", text, Style::new()),
        fact(paint, "records", records, Style::new()),
    ];
    lines.extend(wrapped(paint, width, "wblocks", &wblocks.join(", "), Style::new()));
    lines
}

fn state(paint: Paint, history: &History, last: &Snapshot, width: usize) -> Vec<Line<'static>> {
    let stats = &last.stats;
    let plain = |is_odd: bool| if is_odd { paint.odd() } else { Style::new() };
    let (health, style) = health(paint, &last.health);
    let (puts, puts_style) = if stats.stop_writes {
        ("refused for want of space; deletes pass", paint.bad())
    } else {
        ("taken", Style::new())
    };
    let seconds_left = stats.runway.seconds_left;
    let pin = match stats.oldest_pin_ms {
        0 => "none older than 0.2 s".to_owned(),
        ms => format!("the oldest is {} old", Age(ms.saturating_mul(1_000))),
    };
    let reclaim = &stats.reclaim;
    let pressed = if reclaim.is_pressed { "pressed: free wblocks run short; " } else { "" };
    let freed = history.rates().map_or(0.0, |rates| rates.freed_wblocks);
    let waiting = format!(
        "{pressed}{} wblocks freed a second; waiting: {} for pins, {} for a flush",
        rate(freed),
        reclaim.waiting_for_pins,
        reclaim.waiting_for_barrier
    );
    let is_behind = stats.unflushed_bytes > last.limits.max_write_cache_bytes / 2;
    let is_short = seconds_left.is_some_and(|left| left < RUNWAY_S);
    let mut lines = wrapped(paint, width, "health", &health, style);
    lines.extend([
        fact(paint, "puts", puts, puts_style),
        fact(paint, "runway", runway(stats), plain(is_short)),
        fact(paint, "flush lag", flush_lag(last), plain(is_behind)),
        fact(paint, "pins", pin, plain(stats.oldest_pin_ms >= PIN_MS)),
    ]);
    lines.extend(wrapped(paint, width, "reclaim", &waiting, plain(reclaim.is_pressed)));
    lines
}

fn runway(stats: &Stats) -> String {
    let free = grouped(stats.runway.free_wblocks);
    match stats.runway.seconds_left {
        None => format!("{free} free wblocks, and none are used up"),
        Some(left) => {
            format!("{free} free wblocks last {}", Age(left.saturating_mul(1_000_000)))
        }
    }
}

fn flush_lag(last: &Snapshot) -> String {
    if last.stats.io.is_none() {
        return "none: the store is in memory alone".to_owned();
    }
    let limits = &last.limits;
    let within = match (limits.commit_to_device, limits.flush_max_ms) {
        (true, _) => "each write waits".to_owned(),
        (false, 0) => "flushed on demand".to_owned(),
        (false, ms) => format!("flushed within {ms} ms"),
    };
    format!("{} not durable; {within}", rounded(last.stats.unflushed_bytes))
}

/// In a line, and how bad it is.
pub(super) fn health(paint: Paint, health: &Health) -> (String, Style) {
    match health {
        Health::Ok => ("ok".to_owned(), paint.good()),
        Health::DataLoss { damaged, .. } => {
            let text = format!("the cold start found {} damaged places", grouped(*damaged));
            (text, paint.odd())
        }
        Health::ShadowFailed { path, reason } => {
            (format!("the shadow takes no writes: {}: {}", shown(path), shown(reason)), paint.bad())
        }
        Health::ReclaimFailed { reason } => {
            (format!("a reclaimer has ended: {}", shown(reason)), paint.bad())
        }
        Health::Unknown => ("of a kind that a later version knows".to_owned(), paint.odd()),
    }
}
