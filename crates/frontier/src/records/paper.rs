//! The points that the DPO paper plots.
//!
//! Source: Rafailov et al. 2023, "Direct Preference Optimization", arXiv 2305.18290, Figure 2 left; read from
//! the vector figure into `data/dpo_paper_figure2_left.json`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Error, Method};

const FIGURE_2_LEFT: &str = include_str!("../../data/dpo_paper_figure2_left.json");

/// One series of the paper's figure.
#[derive(Clone, Debug, PartialEq)]
pub struct PaperSeries {
    /// The paper's name of the method.
    pub name: String,
    /// The method here; `None` for PPO-GT with TRL's default settings, which has no counterpart.
    pub method: Option<Method>,
    /// (sequence KL in nats, mean true reward).
    pub points: Vec<(f64, f64)>,
}

#[derive(Deserialize)]
struct Figure {
    points: BTreeMap<String, Vec<(f64, f64)>>,
}

/// The paper's series, in alphabetical order of their names.
///
/// # Errors
/// [`Error::BadPaper`] if the embedded file is damaged.
pub fn paper_points() -> Result<Vec<PaperSeries>, Error> {
    let figure: Figure = serde_json::from_str(FIGURE_2_LEFT).map_err(|e| Error::BadPaper(e.to_string()))?;
    let series = figure.points.into_iter().map(|(name, points)| {
        let method = match name.as_str() {
            "DPO" => Some(Method::DPO),
            "PPO(ours)" => Some(Method::PPO),
            "PPO-GT(ours)" => Some(Method::PPO_GT),
            "Preferred-FT" => Some(Method::PREFERRED_FT),
            "Unlikelihood" => Some(Method::UNLIKELIHOOD),
            _ => None,
        };
        PaperSeries { name, method, points }
    });
    Ok(series.collect())
}
