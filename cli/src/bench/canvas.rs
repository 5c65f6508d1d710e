//! A picture with lines on logarithmic axes and a legend beside it, as SVG.
//!
//! It knows nothing of what was measured. Coordinates are logarithms already.

use std::ops::Range;

use memring_benches::Failed;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::element::DashedPathElement;
use plotters::prelude::*;

/// Of the whole, in pixels.
const SIZE: (u32, u32) = (1110, 660);
/// Height of the title and the line below it.
const HEAD: u32 = 62;
/// Width of the legend.
const LEGEND: u32 = 260;
const GREY: RGBColor = RGBColor(85, 85, 85);
const GRID: RGBColor = RGBColor(226, 226, 226);

/// Lines, and what they mean.
pub(super) struct Picture {
    pub(super) title: &'static str,
    /// A line below the title.
    pub(super) about: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
}

/// A line, its points from left to right.
pub(super) struct Line {
    pub(super) label: String,
    pub(super) style: Style,
    pub(super) points: Vec<(f64, f64)>,
}

/// An axis that begins and ends where its lines do, and its ticks.
#[derive(Clone)]
pub(super) struct Axis {
    name: &'static str,
    range: Range<f64>,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// The axis from left to right, with these ticks as far as there are lines.
    pub(super) fn across(
        name: &'static str,
        lines: &[Line],
        ticks: impl IntoIterator<Item = (f64, String)>,
    ) -> Self {
        let range = range(lines, |point| point.0);
        let ticks = ticks.into_iter().filter(|tick| range.contains(&tick.0)).collect();
        Self { name, range, ticks }
    }

    /// The axis upwards, with ticks at powers of ten, or at 1, 2 and 5 if they are few.
    pub(super) fn up(name: &'static str, lines: &[Line], label: fn(f64) -> String) -> Self {
        let range = range(lines, |point| point.1);
        let few = range.end - range.start < 2.5;
        let steps: &[f64] = if few { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let decades = range.start.floor() as i32..=range.end.ceil() as i32;
        let ticks = decades
            .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)))
            .map(|value| (value.log10(), label(value)))
            .filter(|tick| range.contains(&tick.0))
            .collect();
        Self { name, range, ticks }
    }
}

/// From the smallest to the largest, and a little more.
fn range(lines: &[Line], of: fn(&(f64, f64)) -> f64) -> Range<f64> {
    let all = || lines.iter().flat_map(|line| &line.points).map(of);
    let (low, high) = (all().fold(f64::MAX, f64::min), all().fold(f64::MIN, f64::max));
    let more = ((high - low) * 0.03).max(0.01);
    low - more..high + more
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let Range { start, end } = self.range;
        from + ((value - start) / (end - start) * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.iter().map(|tick| tick.0).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, at: &f64) -> String {
        let tick = self.ticks.iter().find(|tick| tick.0 == *at);
        tick.map_or_else(String::new, |tick| tick.1.clone())
    }
}

/// What a line looks like.
#[derive(Clone, Copy)]
pub(super) struct Style {
    color: RGBColor,
    marker: Marker,
    width: u32,
    dash: Dash,
}

/// The corners of what stands at each point.
type Marker = &'static [(i32, i32)];

const DISC: Marker = &[(-2, -4), (2, -4), (4, -2), (4, 2), (2, 4), (-2, 4), (-4, 2), (-4, -2)];
const SQUARE: Marker = &[(-4, -4), (4, -4), (4, 4), (-4, 4)];
const DIAMOND: Marker = &[(0, -6), (6, 0), (0, 6), (-6, 0)];
const UP: Marker = &[(0, -6), (6, 5), (-6, 5)];
const DOWN: Marker = &[(0, 6), (6, -5), (-6, -5)];
const BAR: Marker = &[(-6, -2), (6, -2), (6, 2), (-6, 2)];
const POST: Marker = &[(-2, -6), (2, -6), (2, 6), (-2, 6)];
const BOW: Marker = &[(-5, -5), (0, -1), (5, -5), (5, 5), (0, 1), (-5, 5)];
const MARKERS: [Marker; 7] = [SQUARE, UP, DIAMOND, DOWN, BOW, BAR, POST];

/// Pixels of a dash and of a gap; nothing if there are none.
type Dash = Option<(u32, u32)>;

const SLEEPS: (u32, u32) = (7, 4);

impl Style {
    /// Of ours: thick, and the one colour that nobody else has.
    pub(super) fn ours(index: usize) -> Self {
        let looks: [(u32, Marker, Dash); 6] = [
            (4, DISC, None),
            (2, BAR, Some((3, 3))),
            (3, DIAMOND, Some(SLEEPS)),
            (2, UP, Some((12, 3))),
            (2, SQUARE, None),
            (2, DOWN, Some((3, 3))),
        ];
        let (width, marker, dash) = looks[index % looks.len()];
        Self { color: RGBColor(215, 25, 28), marker, width, dash }
    }

    /// Of the bare machine: black and greys.
    pub(super) fn raw(index: usize, sleeps: bool) -> Self {
        let grey = [0, 70, 120, 150, 95, 35, 135, 55][index % 8];
        let marker = MARKERS[index % MARKERS.len()];
        let dash = sleeps.then_some(SLEEPS);
        Self { color: RGBColor(grey, grey, grey), marker, width: 1, dash }
    }

    /// Of a rival.
    pub(super) fn rival(index: usize, sleeps: bool) -> Self {
        const COLORS: [RGBColor; 9] = [
            RGBColor(0, 114, 178),
            RGBColor(0, 158, 115),
            RGBColor(230, 145, 0),
            RGBColor(120, 60, 170),
            RGBColor(60, 175, 225),
            RGBColor(140, 86, 75),
            RGBColor(225, 100, 180),
            RGBColor(130, 130, 0),
            RGBColor(25, 40, 130),
        ];
        let color = COLORS[index % COLORS.len()];
        let marker = MARKERS[(index + index / COLORS.len()) % MARKERS.len()];
        Self { color, marker, width: 2, dash: sleeps.then_some(SLEEPS) }
    }

    fn stroke(&self) -> ShapeStyle {
        self.color.stroke_width(self.width)
    }

    fn mark(&self) -> Polygon<(i32, i32)> {
        Polygon::new(self.marker, self.color)
    }
}

type Svg<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Picture {
    /// Draws it.
    pub(super) fn svg(&self) -> Result<String, Failed> {
        let mut svg = String::new();
        let all = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        all.fill(&WHITE)?;
        let (head, rest) = all.split_vertically(HEAD);
        write(&head, self.title, 24, BLACK, (24, 12))?;
        write(&head, &self.about, 16, GREY, (24, 42))?;
        let (left, right) = rest.split_horizontally(SIZE.0 - LEGEND);
        self.draw_lines(&left)?;
        self.draw_legend(&right)?;
        all.present()?;
        drop((all, head, rest, left, right));
        Ok(svg)
    }

    fn draw_lines(&self, area: &Svg<'_>) -> Result<(), Failed> {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .margin_left(16)
            .x_label_area_size(48)
            .y_label_area_size(96)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(GREY)
            .label_style(font(16, GREY))
            .axis_desc_style(font(17, GREY))
            .x_desc(self.x.name)
            .y_desc(self.y.name)
            .draw()?;
        // The highlighted ones last, so that they lie above.
        let mut lines: Vec<&Line> = self.lines.iter().collect();
        lines.sort_by_key(|line| line.style.width);
        for Line { style, points, .. } in lines {
            let points = || points.iter().copied();
            match style.dash {
                None => chart.draw_series([PathElement::new(
                    points().collect::<Vec<_>>(),
                    style.stroke(),
                )])?,
                Some((dash, gap)) => chart.draw_series([DashedPathElement::new(
                    points(),
                    dash,
                    gap,
                    style.stroke(),
                )])?,
            };
            chart.draw_series(points().map(|point| EmptyElement::at(point) + style.mark()))?;
        }
        Ok(())
    }

    /// The names, in the order of the heights of their lines.
    fn draw_legend(&self, area: &Svg<'_>) -> Result<(), Failed> {
        let height = |line: &Line| {
            let sum: f64 = line.points.iter().map(|point| point.1).sum();
            sum / line.points.len() as f64
        };
        let mut lines: Vec<&Line> = self.lines.iter().collect();
        lines.sort_by(|a, b| height(b).total_cmp(&height(a)));
        let pitch = (SIZE.1 - HEAD) as usize / (lines.len() + 1);
        for (line, y) in lines.into_iter().zip((20..).step_by(pitch.min(22))) {
            let Line { label, style, .. } = line;
            let ends = [(4, y), (44, y)];
            match style.dash {
                None => area.draw(&PathElement::new(ends.to_vec(), style.stroke()))?,
                Some((dash, gap)) => {
                    area.draw(&DashedPathElement::new(ends, dash, gap, style.stroke()))?;
                }
            }
            area.draw(&(EmptyElement::at((24, y)) + style.mark()))?;
            write(area, label, 16, style.color, (54, y - 6))?;
        }
        Ok(())
    }
}

fn font(size: u32, color: RGBColor) -> TextStyle<'static> {
    let style = TextStyle::from(("sans-serif", size).into_font());
    TextStyle { color: color.to_backend_color(), ..style }
}

fn write(
    area: &Svg<'_>,
    text: &str,
    size: u32,
    color: RGBColor,
    at: (i32, i32),
) -> Result<(), Failed> {
    let style = font(size, color);
    Ok(area.draw_text(text, &style, at)?)
}
