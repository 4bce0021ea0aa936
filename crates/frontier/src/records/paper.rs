//! The points that the DPO paper plots.
//!
//! Source: Rafailov et al. 2023, "Direct Preference Optimization", arXiv 2305.18290, Figure 2 left and right;
//! read from the vector figures into `data/dpo_paper_figure2_left.json` and
//! `data/dpo_paper_figure2_right.json`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Error, Method};

const FIGURE_2_LEFT: (&str, &str) =
    ("dpo_paper_figure2_left.json", include_str!("../../data/dpo_paper_figure2_left.json"));
const FIGURE_2_RIGHT: (&str, &str) =
    ("dpo_paper_figure2_right.json", include_str!("../../data/dpo_paper_figure2_right.json"));

/// One series of one of the two figures.
#[derive(Clone, Debug, PartialEq)]
pub struct PaperSeries {
    /// The paper's name of the method.
    pub name: String,
    /// The method here; `None` for PPO-GT with TRL's default settings and for GPT-J before fine-tuning,
    /// which have no counterpart.
    pub method: Option<Method>,
    /// (sequence KL in nats, mean true reward), or on the right (temperature, win rate).
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
    let figure: Figure = embedded(FIGURE_2_LEFT)?;
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

/// The right figure: who wrote it calls every series a list but `temps`, which is their common x axis.
#[derive(Deserialize)]
struct RightFigure {
    data: WinRates,
}

#[derive(Deserialize)]
struct WinRates {
    #[serde(rename = "TLDR_winrate_vs_reference_gpt4C")]
    series: BTreeMap<String, Vec<f64>>,
}

/// The paper's win rates against summaries that people wrote, by sampling temperature; 256 judgements a
/// point. In alphabetical order of their names.
///
/// # Errors
/// [`Error::BadPaper`] if the embedded file is damaged.
pub fn paper_win_rates() -> Result<Vec<PaperSeries>, Error> {
    let figure: RightFigure = embedded(FIGURE_2_RIGHT)?;
    let mut series = figure.data.series;
    let bad = |reason: String| Error::BadPaper { file: FIGURE_2_RIGHT.0, reason };
    let temperatures = series.remove("temps").ok_or_else(|| bad("no `temps`".to_owned()))?;
    let one = |(name, rates): (String, Vec<f64>)| {
        if rates.len() != temperatures.len() {
            return Err(bad(format!("{name}: {} rates of {} temperatures", rates.len(), temperatures.len())));
        }
        let method = match name.as_str() {
            "DPO" => Some(Method::DPO),
            "PPO" => Some(Method::PPO),
            "Preferred-FT" => Some(Method::PREFERRED_FT),
            "SFT" => Some(Method::REFERENCE),
            "Best of 128" => Some(Method::BEST_OF_N),
            _ => None,
        };
        Ok(PaperSeries { name, method, points: temperatures.iter().copied().zip(rates).collect() })
    };
    series.into_iter().map(one).collect()
}

fn embedded<T: DeserializeOwned>((file, text): (&'static str, &str)) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::BadPaper { file, reason: error.to_string() })
}
