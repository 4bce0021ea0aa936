//! Figures as SVG text.
//!
//! Colours are Okabe and Ito's (2008) for the colour-blind, with a marker per method, so that the figures
//! hold in grey too. Only the generic font family `sans-serif` is named; no font is needed to draw. The same
//! input gives the same bytes.

mod ablation;
mod ahead;
mod canvas;
mod closed_form;
mod collapse;
mod compact;
mod drift;
mod frontier;
mod histogram;
mod labels;
mod law;
mod legend;
mod overoptimization;
mod plane;
mod responses;
mod stages;
mod style;
mod training;
mod why;
mod win_rate;

pub use ablation::ablation_figure;
pub use ahead::ahead_figure;
pub use closed_form::{ClosedFormFigure, PartitionCurve, WalkCurve, closed_form_figure};
pub use collapse::collapse_figure;
pub use drift::drift_figure;
pub use frontier::{FrontierFigure, frontier_figure};
pub use histogram::histogram_figure;
pub use labels::labels_figure;
pub use law::law_figure;
pub use overoptimization::overoptimization_figure;
pub use responses::responses_figure;
pub use stages::stages_figure;
pub use training::{Clock, training_figure};
pub use why::why_figure;
pub use win_rate::{WinRateFigure, win_rate_figure};
