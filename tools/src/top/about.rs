//! The page of the store: shape, limits, shadow, cold start, and what the engine gave notice of.

use super::overview::health;
use super::paint::{Paint, fact, grouped, rounded, wrapped};
use super::snapshot::{Load, Snapshot};
use crate::text::{Size, shown};
use ratatui::style::Style;
use ratatui::text::Line;

pub(super) fn lines(paint: Paint, last: &Snapshot, width: usize) -> Vec<Line<'static>> {
    let (stats, limits) = (&last.stats, &last.limits);
    let plain = Style::new();
    let shape = format!(
        "{} in {} stripes, wblocks of {}; {} pages",
        Size(stats.data_size_bytes),
        stats.stripes,
        Size(stats.wblock_bytes.into()),
        shown(&stats.huge_pages)
    );
    let memory = format!(
        "index {} ({} segments, {} splits, {} rebuilds), ghost {}",
        rounded(stats.index_bytes),
        grouped(stats.index_segments),
        grouped(stats.index_splits),
        grouped(stats.index_rebuilds),
        rounded(stats.ghost_bytes)
    );
    let flush = if limits.commit_to_device {
        "each write waits until it is durable".to_owned()
    } else {
        format!(
            "within {} ms; the cache is {}",
            limits.flush_max_ms,
            Size(limits.max_write_cache_bytes)
        )
    };
    let stop = format!(
        "above {}% live, below {}% free wblocks; evicts above {}%",
        limits.stop_writes_used_pct, limits.stop_writes_avail_pct, limits.evict_used_pct
    );
    let shadow = last.shadow.as_deref().unwrap_or("none: in memory alone");
    let (health, health_style) = health(paint, &last.health);
    let mut lines = vec![
        fact(paint, "engine", format!("Brindle {}", shown(&last.engine_version)), plain),
        fact(paint, "shape", shape, plain),
        fact(paint, "memory", memory, plain),
        fact(paint, "shadow", shown(shadow), plain),
        fact(paint, "flush", flush, plain),
        fact(paint, "stops puts", stop, plain),
    ];
    lines.extend(wrapped(paint, width, "health", &health, health_style));
    if let Some(io) = &stats.io {
        let written = format!(
            "{} written, {} read, {} syncs",
            rounded(io.bytes_written),
            rounded(io.bytes_read),
            grouped(io.syncs)
        );
        let faults = format!(
            "{} write errors, {} heals, {} short writes, {} retries",
            io.write_errors, io.heals, io.short_writes, io.retries
        );
        lines.push(fact(paint, "disk", written, plain));
        let style = if io.write_errors > 0 { paint.odd() } else { plain };
        lines.push(fact(paint, "faults", faults, style));
    }
    lines.push(fact(paint, "cold start", cold_start(&stats.load), plain));
    let refused = stats.ring_refused.as_ref().map(|why| format!("io_uring is refused: {why}"));
    for notice in refused.iter().chain(&stats.notices) {
        lines.extend(wrapped(paint, width, "notice", &shown(notice), paint.odd()));
    }
    lines
}

fn cold_start(load: &Load) -> String {
    let ended = if load.was_clean { "after an orderly close" } else { "" };
    if load.bytes == 0 && load.records == 0 {
        return "nothing was there".to_owned();
    }
    format!(
        "{} records from {} in {:.2} s {ended}",
        grouped(load.records),
        rounded(load.bytes),
        load.elapsed_seconds
    )
}
