//! The plots of a run.

use super::Document;
use crate::engine::{IN_MEMORY, PERSISTENT, SUBJECT};
use crate::plot::{Axis, Plot, Series};
use std::error::Error;
use std::path::Path;

const fn straight(label: &'static str) -> Axis {
    Axis { label, logarithmic: false }
}

const fn by_powers(label: &'static str) -> Axis {
    Axis { label, logarithmic: true }
}

/// Writes all plots that there are figures for into `folder`.
///
/// # Errors
///
/// If one cannot be written.
pub fn write(document: &Document, folder: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    for operation in ["get", "put"] {
        let plot = latency(document, operation);
        if !plot.series.is_empty() {
            plot.write(&folder.join(format!("latency-{operation}.svg")))?;
        }
    }
    let mut sizes: Vec<usize> = document.sustained.iter().map(|row| row.value_bytes).collect();
    sizes.dedup();
    for value_bytes in sizes {
        let name = format!("sustained-{value_bytes}.svg");
        sustained(document, value_bytes).write(&folder.join(name))?;
    }
    if !document.growth.is_empty() {
        growth(document).write(&folder.join("growth.svg"))?;
    }
    Ok(())
}

/// The colour of an engine, the same in all plots.
fn color(engine: &str) -> usize {
    let place = |all: &[&str]| all.iter().position(|name| *name == engine);
    let peer = place(&IN_MEMORY).or_else(|| place(PERSISTENT));
    match engine {
        SUBJECT => 0,
        _ => peer.map_or(8, |place| place + 1),
    }
}

fn latency(document: &Document, operation: &str) -> Plot {
    let rows: Vec<_> = document.latency.iter().filter(|row| row.operation == operation).collect();
    // Drawn over how many are slower: each power of ten has the same room.
    let curve = |points: &[(f64, f64)]| {
        points.iter().map(|(percent, us)| (100.0 / (100.0 - percent).max(1e-9), *us)).collect()
    };
    let series = rows
        .iter()
        .map(|row| Series {
            name: row.engine.clone(),
            color: color(&row.engine),
            points: curve(&row.curve),
        })
        .collect();
    let rate = rows.first().map_or(0, |row| row.rate);
    Plot {
        title: format!("{operation}, open loop, {rate} operations a second, least of all runs"),
        x: by_powers("one in so many is slower"),
        y: by_powers("microseconds from when it was due"),
        lines: true,
        series,
    }
}

/// Fewer puts in a second are drawn at the bottom.
const PUTS_MIN: f64 = 1e3;

fn sustained(document: &Document, value_bytes: usize) -> Plot {
    let rows = document.sustained.iter().filter(|row| row.value_bytes == value_bytes);
    let series = rows.map(|row| Series {
        name: row.engine.clone(),
        color: color(&row.engine),
        points: (1..)
            .map(f64::from)
            .zip(row.series.iter().map(|puts| puts.max(PUTS_MIN)))
            .collect(),
    });
    Plot {
        title: format!("Persisted puts of {value_bytes} B"),
        x: straight("second"),
        y: by_powers("puts in that second"),
        lines: true,
        series: series.collect(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
fn growth(document: &Document) -> Plot {
    let points =
        |stalls: &[(u64, f64)]| stalls.iter().map(|(records, us)| (*records as f64, *us)).collect();
    let series = document.growth.iter().map(|row| Series {
        name: format!("{}, {:.1} ms", row.engine, row.least_worst_us / 1e3),
        color: color(&row.engine),
        points: points(&row.best.stalls),
    });
    Plot {
        title: "Inserts of more than 50 us while growing from empty; the best run".into(),
        x: straight("records before"),
        y: by_powers("microseconds"),
        lines: false,
        series: series.collect(),
    }
}
