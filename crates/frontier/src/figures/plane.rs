//! A pair of axes with what is drawn between them.

use plotters::style::RGBAColor;

use super::canvas::{self, Area, Axes, Chart, Position, Scale, clip, dashed, filled, line, marker};
use super::style::Marker;
use crate::Error;

/// The pixels of a chart.
pub(super) struct Plane<'a, 'b> {
    pub(super) root: &'a Area<'b>,
    chart: Chart<'b>,
    pub(super) x: (f64, f64),
    pub(super) y: (f64, f64),
}

impl<'a, 'b> Plane<'a, 'b> {
    /// Draws the axes into `area`, a part of `root`.
    pub(super) fn new(root: &'a Area<'b>, area: &Area<'b>, axes: &Axes<'_>) -> Result<Self, Error> {
        Self::scaled(root, area, axes, (Scale::Linear, Scale::Linear))
    }

    /// Axes whose coordinates are what `scales` say, x and y; points are given in these coordinates.
    pub(super) fn scaled(
        root: &'a Area<'b>,
        area: &Area<'b>,
        axes: &Axes<'_>,
        scales: (Scale, Scale),
    ) -> Result<Self, Error> {
        Ok(Self { root, chart: canvas::scaled_chart(area, axes, scales)?, x: axes.x, y: axes.y })
    }

    pub(super) fn position(&self, point: (f64, f64)) -> Position {
        self.chart.backend_coord(&point)
    }

    /// The part of a curve within the axes.
    fn positions(&self, curve: &[(f64, f64)]) -> Vec<Position> {
        clip(curve, self.x, self.y).into_iter().map(|point| self.position(point)).collect()
    }

    pub(super) fn shows(&self, (x, y): (f64, f64)) -> bool {
        x >= self.x.0 && x <= self.x.1 && y >= self.y.0 && y <= self.y.1
    }

    /// A marker, if its place is within the axes.
    pub(super) fn mark(
        &self,
        at: (f64, f64),
        shape: Marker,
        radius: i32,
        color: RGBAColor,
        fill: bool,
    ) -> Result<(), Error> {
        if !self.shows(at) {
            return Ok(());
        }
        marker(self.root, self.position(at), shape, radius, color, fill)
    }

    pub(super) fn line(&self, curve: &[(f64, f64)], color: RGBAColor, width: u32) -> Result<(), Error> {
        line(self.root, self.positions(curve), color, width)
    }

    pub(super) fn dashed(
        &self,
        curve: &[(f64, f64)],
        color: RGBAColor,
        width: u32,
        dash: (i32, i32),
    ) -> Result<(), Error> {
        dashed(self.root, self.positions(curve), color, width, dash)
    }

    /// A line, broken if there are `dashes`.
    pub(super) fn stroke(
        &self,
        curve: &[(f64, f64)],
        color: RGBAColor,
        width: u32,
        dashes: Option<(i32, i32)>,
    ) -> Result<(), Error> {
        match dashes {
            Some(dash) => self.dashed(curve, color, width, dash),
            None => self.line(curve, color, width),
        }
    }

    /// A filled band between (x, (low, high)).
    pub(super) fn band(&self, band: &[(f64, (f64, f64))], color: RGBAColor) -> Result<(), Error> {
        let edge = |of: fn((f64, f64)) -> f64| -> Vec<Position> {
            self.positions(&band.iter().map(|(x, interval)| (*x, of(*interval))).collect::<Vec<_>>())
        };
        let mut outline = edge(|interval| interval.1);
        outline.extend(edge(|interval| interval.0).into_iter().rev());
        if band.is_empty() { Ok(()) } else { filled(self.root, outline, color) }
    }
}
