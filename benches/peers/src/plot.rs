//! Plots, as SVG: lines or points of several series, axes straight or by powers of ten.

use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

/// One axis.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// What it says.
    pub label: &'static str,
    /// By powers of ten.
    pub logarithmic: bool,
}

/// A line of the plot, or a cloud of points.
#[derive(Clone, Debug)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// Which of the colours; the first is Brindle's.
    pub color: usize,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Its headline.
    pub title: String,
    /// From left to right.
    pub x: Axis,
    /// From bottom to top.
    pub y: Axis,
    /// Whether points are joined.
    pub lines: bool,
    /// What it shows.
    pub series: Vec<Series>,
}

const SIZE: (u32, u32) = (880, 480);
/// Told apart by the colour-blind, too.
const COLORS: [RGBColor; 9] = [
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(150, 150, 150),
    RGBColor(120, 94, 20),
];

impl Axis {
    /// Where `value` is drawn.
    fn place(self, value: f64) -> f64 {
        if self.logarithmic { value.max(1e-3).log10() } else { value }
    }

    /// What stands at `place`.
    fn text(self, place: f64) -> String {
        let value = if self.logarithmic { 10_f64.powf(place) } else { place };
        match value.abs() {
            large if large >= 1e6 => format!("{:.4} M", value / 1e6).replace(".0000", ""),
            large if large >= 10.0 => format!("{value:.0}"),
            small if small >= 1.0 || small == 0.0 => {
                format!("{value:.1}").trim_end_matches(".0").into()
            }
            _ => format!("{value:.3}"),
        }
    }

    fn range(self, values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
        let places = values.filter(|value| value.is_finite()).map(|value| self.place(value));
        let (low, high) =
            places.fold((f64::MAX, f64::MIN), |(low, high), one| (low.min(one), high.max(one)));
        if low > high {
            return 0.0..1.0;
        }
        let (low, high) = if self.logarithmic { (low.floor(), high.ceil()) } else { (low, high) };
        let low = if self.logarithmic { low } else { low.min(0.0) };
        low..if high > low { high } else { low + 1.0 }
    }
}

impl Plot {
    /// Writes it to `path`.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let all = || self.series.iter().flat_map(|series| series.points.iter());
        let xs = self.x.range(all().map(|point| point.0));
        let ys = self.y.range(all().map(|point| point.1));
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(12)
            .margin_right(32)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(xs.clone(), ys.clone())?;
        let steps = |axis: Axis, range: &std::ops::Range<f64>| {
            if axis.logarithmic { count(range.end - range.start + 1.0) } else { 10 }
        };
        chart
            .configure_mesh()
            .light_line_style(RGBColor(235, 235, 235))
            .x_desc(self.x.label)
            .y_desc(self.y.label)
            .x_labels(steps(self.x, &xs))
            .y_labels(steps(self.y, &ys))
            .x_label_formatter(&|place| self.x.text(*place))
            .y_label_formatter(&|place| self.y.text(*place))
            .draw()?;
        for series in &self.series {
            let color = COLORS[series.color % COLORS.len()];
            let points = series.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
            let places = points.map(|(x, y)| (self.x.place(*x), self.y.place(*y)));
            let style = ShapeStyle { color: color.into(), filled: true, stroke_width: 2 };
            let drawn = if self.lines {
                chart.draw_series(LineSeries::new(places, style))?
            } else {
                chart.draw_series(places.map(|place| Circle::new(place, 2, style)))?
            };
            drawn
                .label(&series.name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(RGBColor(200, 200, 200))
            .draw()?;
        area.present()?;
        Ok(())
    }
}

/// A small number of labels.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some powers of ten")]
fn count(labels: f64) -> usize {
    labels.clamp(2.0, 16.0) as usize
}
