//! Colours and markers.

use plotters::style::{Color, RGBAColor, RGBColor};

use crate::Method;
use crate::paper::PaperSeries;

/// Okabe and Ito's black, for ceilings and text.
pub(super) const BLACK: RGBColor = RGBColor(0, 0, 0);
/// A grey for what stands in the background.
pub(super) const GREY: RGBColor = RGBColor(110, 110, 110);
/// The colour of plain bars.
pub(super) const BLUE: RGBColor = RGBColor(0, 114, 178);
/// The colour of lines that mark a value.
pub(super) const VERMILLION: RGBColor = RGBColor(213, 94, 0);

/// The shape of a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Square,
    Triangle,
    TriangleDown,
    Diamond,
    Cross,
    Plus,
}

/// How a method looks.
///
/// Okabe and Ito's yellow is too light for lines on white; the eighth place is a grey.
pub(super) fn look(method: Method) -> (RGBColor, Marker) {
    match method {
        Method::Dpo => (BLUE, Marker::Circle),
        Method::Ipo => (RGBColor(86, 180, 233), Marker::Diamond),
        Method::Cdpo => (RGBColor(204, 121, 167), Marker::TriangleDown),
        Method::Ppo => (VERMILLION, Marker::Square),
        Method::PpoGt => (RGBColor(230, 159, 0), Marker::Triangle),
        Method::Unlikelihood => (RGBColor(0, 158, 115), Marker::Cross),
        Method::PreferredFt => (GREY, Marker::Plus),
        Method::BestOfN => (BLACK, Marker::Diamond),
        Method::Reference => (BLACK, Marker::Circle),
    }
}

/// How a series of the paper looks: as its method, but paler.
pub(super) fn paper_look(series: &PaperSeries) -> (RGBAColor, Marker) {
    let (color, shape) = series.method.map_or((BLACK, Marker::TriangleDown), look);
    (color.mix(0.45), shape)
}
