//! A plot of latencies: for each workload a panel, for each kind of operation a curve over the
//! percentiles. Both axes are logarithmic, the one of percentiles towards 100%: the tail is what
//! one looks for.

use crate::svg::{WIDTH, document, escaped};
use std::fmt::{self, Write};

/// Size of one panel, with what stands around its field.
const PANEL_WIDTH: f64 = 470.0;
const PANEL_HEIGHT: f64 = 290.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 64.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 34.0;
/// Percentiles with a line and a name.
const TICKS: [(f64, &str); 6] =
    [(0.0, "0"), (0.5, "50%"), (0.9, "90%"), (0.99, "99%"), (0.999, "99.9%"), (0.9999, "99.99%")];
/// Nines up to which curves are drawn.
const NINES_MAX: f64 = 5.0;

/// A kind of operation.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    /// Which of the four colours.
    pub(crate) color: usize,
    /// Share of the operations that were as fast, and the time: nanoseconds.
    pub(crate) points: Vec<(f64, u64)>,
}

/// A workload.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) curves: Vec<Curve>,
}

/// Powers of ten of nanoseconds from `low` to `high`.
#[derive(Clone, Copy, Debug)]
struct Scale {
    low: i32,
    high: i32,
}

/// The plot as a file of its own; `below` stands under it.
pub(crate) fn latencies(panels: &[Panel], below: &str) -> String {
    let mut body = String::new();
    // A string takes everything.
    let height = write_all(&mut body, panels, below).unwrap_or_default();
    document(height, "latencies by percentile", &body, true)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small height")]
fn write_all(body: &mut String, panels: &[Panel], below: &str) -> Result<u32, fmt::Error> {
    write!(
        body,
        "<text class=\"t\" x=\"8\" y=\"20\">latency by percentile, both logarithmic</text>"
    )?;
    let scale = Scale::of(panels);
    let mut height = TOP;
    for (n, panel) in (0_u32..).zip(panels) {
        let (column, row) = (n % 2, n / 2);
        let x = f64::from(column) * (f64::from(WIDTH) - PANEL_WIDTH);
        let y = TOP + f64::from(row) * PANEL_HEIGHT;
        write!(body, "<g transform=\"translate({x:.0} {y:.0})\">")?;
        write_panel(body, panel, scale)?;
        body.push_str("</g>");
        height = y + PANEL_HEIGHT;
    }
    write!(body, "<text class=\"s\" x=\"8\" y=\"{:.0}\">{}</text>", height + 16.0, escaped(below))?;
    Ok((height + 28.0) as u32)
}

fn write_panel(body: &mut String, panel: &Panel, scale: Scale) -> fmt::Result {
    let (right, low) = (PANEL_WIDTH - RIGHT, PANEL_HEIGHT - BOTTOM);
    write!(body, "<text class=\"t\" x=\"{LEFT}\" y=\"22\">{}</text>", escaped(&panel.title))?;
    for (quantile, name) in TICKS {
        let x = x_of(quantile);
        write!(body, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{low}\"/>")?;
        write!(
            body,
            "<text class=\"s\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
            low + 18.0
        )?;
    }
    for power in scale.low..=scale.high {
        let y = scale.y_of(10_f64.powi(power));
        write!(body, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>")?;
        let name = time_name(power);
        write!(
            body,
            "<text class=\"s\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            LEFT - 8.0,
            y + 4.0
        )?;
    }
    let mut labels: Vec<(f64, &Curve)> = Vec::new();
    for curve in &panel.curves {
        let mut path = String::new();
        let mut last = low;
        for (n, (quantile, nanos)) in curve.points.iter().enumerate() {
            last = scale.y_of(nanos_of(*nanos));
            let letter = if n == 0 { 'M' } else { 'L' };
            write!(path, "{letter}{:.1} {last:.1}", x_of(*quantile))?;
        }
        write!(body, "<path class=\"c{}\" d=\"{path}\"/>", curve.color % 4)?;
        labels.push((last, curve));
    }
    write_labels(body, &mut labels, right)
}

/// Names at the ends of the curves, none over another.
fn write_labels(body: &mut String, labels: &mut [(f64, &Curve)], right: f64) -> fmt::Result {
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = 0.0_f64;
    for (y, curve) in labels {
        let at = (*y + 4.0).max(free);
        free = at + 15.0;
        let (class, name) = (curve.color % 4, curve.name);
        write!(
            body,
            "<text class=\"s k{class}\" x=\"{:.1}\" y=\"{at:.1}\">{name}</text>",
            right + 6.0
        )?;
    }
    Ok(())
}

impl Scale {
    fn of(panels: &[Panel]) -> Self {
        let curves = panels.iter().flat_map(|panel| &panel.curves);
        let times = curves.flat_map(|curve| &curve.points).map(|(_, nanos)| (*nanos).max(1));
        let (low, high) =
            times.fold((u64::MAX, 10), |(low, high), nanos| (low.min(nanos), high.max(nanos)));
        let power = |nanos: u64| i32::try_from(nanos.max(1).ilog10()).unwrap_or_default();
        let low = power(low.min(high));
        Self { low, high: (power(high) + 1).max(low + 1) }
    }

    fn y_of(self, nanos: f64) -> f64 {
        let share =
            (nanos.max(1.0).log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        let low = PANEL_HEIGHT - BOTTOM;
        low - share.clamp(0.0, 1.0) * (low - TOP)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a place in a plot")]
fn nanos_of(nanos: u64) -> f64 {
    nanos as f64
}

fn x_of(quantile: f64) -> f64 {
    let nines = -(1.0 - quantile).max(1e-12).log10();
    LEFT + (nines / NINES_MAX).clamp(0.0, 1.0) * (PANEL_WIDTH - RIGHT - LEFT)
}

fn time_name(power: i32) -> String {
    let unit = match power {
        ..3 => "ns",
        3..6 => "µs",
        6..9 => "ms",
        _ => "s",
    };
    let digits = power.clamp(0, 12).rem_euclid(3);
    format!("1{} {unit}", "0".repeat(usize::try_from(digits).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_their_ends() {
        let points = vec![(0.0, 80), (0.5, 120), (0.99, 900), (0.99999, 2_000_000)];
        let curve = Curve { name: "get", color: 0, points };
        let panel = Panel { title: "A <b>".to_owned(), curves: vec![curve] };
        let scale = Scale::of(std::slice::from_ref(&panel));
        assert_eq!((scale.low, scale.high), (1, 7));
        assert_eq!((x_of(0.0), x_of(0.999_999)), (LEFT, PANEL_WIDTH - RIGHT));
        assert_eq!(
            ["10 ns", "1 µs", "100 ms", "1 s"],
            [1, 3, 8, 9].map(time_name).each_ref().map(String::as_str)
        );
        let svg = latencies(&[panel], "a host");
        assert!(svg.contains("A &lt;b&gt;") && svg.contains("a host") && svg.ends_with("</svg>"));
        assert!(latencies(&[], "").ends_with("</svg>"));
    }
}
