//! Colours and markers.

use plotters::style::{Color, RGBAColor, RGBColor};

use crate::Method;
use crate::records::paper::PaperSeries;

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

/// For methods that have no look of their own: the colours of Tol's "muted" scheme (2021, *Colour Schemes*,
/// SRON/EPS/TN/09-002) that are dark enough for lines on white and that no known method has.
const NEW_COLORS: [RGBColor; 3] = [RGBColor(17, 119, 51), RGBColor(153, 153, 51), RGBColor(68, 170, 153)];
/// Seven markers in turn beside three colours: 21 methods differ in one or the other.
const NEW_MARKERS: [Marker; 7] = [
    Marker::TriangleDown,
    Marker::Diamond,
    Marker::Circle,
    Marker::Square,
    Marker::Triangle,
    Marker::Plus,
    Marker::Cross,
];

/// How the methods of one figure look.
pub(super) struct Looks {
    /// The methods without a look of their own, in order.
    new: Vec<Method>,
}

impl Looks {
    /// The looks of `methods`, which are all of the figure's study, so that its figures agree.
    pub(super) fn of(methods: &[Method]) -> Self {
        Self { new: methods.iter().copied().filter(|method| own(*method).is_none()).collect() }
    }

    /// How `method` looks: as in every figure, or, if it has no look of its own, by its place among such
    /// methods.
    pub(super) fn of_method(&self, method: Method) -> (RGBColor, Marker) {
        own(method).unwrap_or_else(|| {
            let place = self.new.iter().position(|new| *new == method).unwrap_or(self.new.len());
            (NEW_COLORS[place % NEW_COLORS.len()], NEW_MARKERS[place % NEW_MARKERS.len()])
        })
    }
}

/// The dashes of a method's lines, (dash, gap) in canvas units; `None` for a whole line. Broken lines are
/// those of methods that see the true reward.
pub(super) fn dashes(method: Method) -> Option<(i32, i32)> {
    let sees_truth = [Method::PPO_GT, Method::ONLINE_DPO_GT, Method::RLOO_GT].contains(&method);
    sees_truth.then_some((22, 7))
}

/// The look of a method that every figure shows alike.
///
/// Okabe and Ito's yellow is too light for lines on white; the eighth place is a grey. Methods that came
/// later have Tol's indigo and purple, wine and rose: a dark and a light colour of one family, for the
/// learned and for the true reward.
fn own(method: Method) -> Option<(RGBColor, Marker)> {
    Some(match method {
        Method::DPO => (BLUE, Marker::Circle),
        Method::IPO => (RGBColor(86, 180, 233), Marker::Diamond),
        Method::CDPO => (RGBColor(204, 121, 167), Marker::TriangleDown),
        Method::ONLINE_DPO => (RGBColor(51, 34, 136), Marker::Diamond),
        Method::ONLINE_DPO_GT => (RGBColor(170, 68, 153), Marker::Diamond),
        Method::RLOO => (RGBColor(136, 34, 85), Marker::TriangleDown),
        Method::RLOO_GT => (RGBColor(204, 102, 119), Marker::TriangleDown),
        Method::PPO => (VERMILLION, Marker::Square),
        Method::PPO_GT => (RGBColor(230, 159, 0), Marker::Triangle),
        Method::UNLIKELIHOOD => (RGBColor(0, 158, 115), Marker::Cross),
        Method::PREFERRED_FT => (GREY, Marker::Plus),
        Method::BEST_OF_N => (BLACK, Marker::Diamond),
        Method::REFERENCE => (BLACK, Marker::Circle),
        _ => return None,
    })
}

/// How a series of the paper looks: as its method, but paler.
pub(super) fn paper_look(series: &PaperSeries) -> (RGBAColor, Marker) {
    let (color, shape) = series.method.and_then(own).unwrap_or((BLACK, Marker::TriangleDown));
    (color.mix(0.45), shape)
}
