//! Win rates: by hand, their records, their claims and their figure.
use frontier::claims::Verdict::{self, Contradicted, Holds, Undecided};
use frontier::figures::{WinRateFigure, win_rate_figure};
use frontier::paper::paper_win_rates;
use frontier::win_rate::{JudgedBy, WinRates, win_rates};
use frontier::{
    Bootstrap, Error, Judgement, Method, Outcome, Table, TemperatureRow, read_judgements, read_temperatures,
    win_rate_answer, win_rate_claims, win_rate_tables, write_judgements, write_temperatures,
};

const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 200, seed: 1 };

fn one(
    method: Method,
    seed: u64,
    temperature: f64,
    prompt: u64,
    shown_first: bool,
    outcome: Outcome,
) -> Judgement {
    Judgement { judge: "r*".to_owned(), method, seed, temperature, prompt, shown_first, outcome }
}

/// Comparisons of one policy at one temperature on `prompts` prompts, of which the first `wins` of every ten
/// are won. The response is shown first on every other prompt of each half.
fn cell(method: Method, seed: u64, temperature: f64, prompts: u64, wins: u64) -> Vec<Judgement> {
    let outcome = |prompt: u64| if prompt % 10 < wins { Outcome::Win } else { Outcome::Loss };
    let ask =
        |prompt: u64| one(method, seed, temperature, prompt, (prompt / 2).is_multiple_of(2), outcome(prompt));
    (0..prompts).map(ask).collect()
}

fn judged(judgements: &[Judgement]) -> JudgedBy {
    win_rates(judgements, BOOTSTRAP).unwrap().judges.remove(0)
}

#[test]
fn rates_and_the_leaning_to_the_first_text_by_hand() {
    use Outcome::{Loss, Tie, Unreadable, Win};
    // First: 1, 1, 1/2, 0 (mean 5/8); second: 1, 0, 0, 1/2 (mean 3/8); the unreadable one counts for nothing.
    let outcomes = [
        (true, Win),
        (true, Win),
        (true, Tie),
        (true, Loss),
        (false, Win),
        (false, Loss),
        (false, Loss),
        (false, Tie),
        (false, Unreadable),
    ];
    let judgements: Vec<Judgement> = outcomes
        .iter()
        .zip(0..)
        .map(|((first, outcome), prompt)| one(Method::DPO, 0, 0.5, prompt, *first, *outcome))
        .collect();
    let by = judged(&judgements);
    assert_eq!((by.comparisons, by.ties, by.unreadable), (9, 2, 1));
    let rate = &by.rates[0];
    assert_eq!((rate.method, rate.temperature, rate.rate.value), (Method::DPO, 0.5, 0.5));
    // (5/8 + 3/8) / 2, and (5/8 + 1 - 3/8) / 2, of so many comparisons that every replicate has both orders.
    let many: Vec<Judgement> = (0..20)
        .flat_map(|round| {
            judgements.iter().map(move |one| Judgement { prompt: one.prompt + 9 * round, ..one.clone() })
        })
        .collect();
    let by = judged(&many);
    assert!((by.first_wins.unwrap().value - 0.625).abs() < 1e-12);
    assert!((by.rates[0].balanced.unwrap().value - 0.5).abs() < 1e-12);
    let (low, high) = by.first_wins.unwrap().interval;
    assert!(0.5 < low && low < 0.625 && 0.625 < high && high < 0.72, "{low} {high}");
}

#[test]
fn the_interval_of_one_seed_is_that_of_its_prompts() {
    // 400 prompts, 60% won: s.e. sqrt(0.24 / 400) = 0.0245, so that 1.96 of them are 0.048.
    let by = judged(&cell(Method::DPO, 0, 0.0, 400, 6));
    let rate = by.rates[0].rate;
    assert!((rate.value - 0.6).abs() < 1e-12 && rate.seeds == 1);
    let half = (rate.interval.1 - rate.interval.0) / 2.0;
    assert!((half - 0.048).abs() < 0.008, "{half}");
}

#[test]
fn seeds_widen_the_interval_by_students_t() {
    // Rates of 0.5, 0.6 and 0.7 on the same prompts: sd 0.1, s.e. 0.0577, and t with 2 degrees of freedom is
    // 4.3.
    let judgements: Vec<Judgement> =
        (0..3).flat_map(|seed| cell(Method::DPO, seed, 0.0, 400, 5 + seed)).collect();
    let by = judged(&judgements);
    let rate = by.rates[0].rate;
    assert!((rate.value - 0.6).abs() < 1e-12);
    assert!((rate.seed_sd.unwrap() - 0.1).abs() < 1e-12);
    let half = (rate.interval.1 - rate.interval.0) / 2.0;
    assert!((0.15..0.35).contains(&half), "{half}");
}

/// Three seeds of DPO, PPO and best-of-n at 0 and 1, wins of every ten; seeds are alike.
fn study(dpo: [u64; 2], ppo: [u64; 2], best_of_n: [u64; 2]) -> Vec<Judgement> {
    let methods = [(Method::DPO, dpo), (Method::PPO, ppo), (Method::BEST_OF_N, best_of_n)];
    let mut judgements = Vec::new();
    for (method, wins) in methods {
        for seed in 0..3 {
            judgements.extend(cell(method, seed, 0.0, 200, wins[0]));
            judgements.extend(cell(method, seed, 1.0, 200, wins[1]));
        }
    }
    judgements
}

#[test]
fn the_best_temperature_is_chosen_and_read() {
    let by = judged(&study([8, 5], [3, 6], [4, 4]));
    let best: Vec<(Method, [f64; 2])> = by.best.iter().map(|one| (one.method, one.temperatures)).collect();
    let expected = [(Method::DPO, [0.0; 2]), (Method::PPO, [1.0; 2]), (Method::BEST_OF_N, [0.0; 2])];
    assert_eq!(best, expected);
    for (one, rate) in by.best.iter().zip([0.8, 0.6, 0.4]) {
        assert!((one.rate.value - rate).abs() < 0.01, "{one:?}");
    }
    let losses: Vec<f64> = by.declines.iter().map(|one| (10.0 * one.loss.value).round()).collect();
    assert_eq!(losses, [3.0, -3.0, 0.0]);
    // DPO loses 3 and PPO gains 3.
    assert!((by.decline_differences[0].difference.value - 0.6).abs() < 1e-12);
}

#[test]
fn the_best_of_equal_rates_is_not_too_large() {
    // Five temperatures of true rate 1/2 whose outcomes are drawn: the largest of the observed rates is above
    // 1/2 by about 1.16 standard errors of 0.035, the cross-fitted one is not on average.
    let (mut plain, mut fitted) = (0.0, 0.0);
    for number in 0..40_u64 {
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut coin = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if state >> 32 & 1 == 0 { Outcome::Win } else { Outcome::Loss }
        };
        let mut judgements = Vec::new();
        for temperature in [0.0, 0.25, 0.5, 0.75, 1.0] {
            judgements.extend((0..200).map(|p| one(Method::DPO, 0, temperature, p, p % 4 < 2, coin())));
        }
        let by = judged(&judgements);
        plain += by.rates.iter().map(|one| one.rate.value).fold(0.0, f64::max) / 40.0;
        fitted += by.best[0].rate.value / 40.0;
    }
    assert!(plain > 0.53, "{plain}");
    assert!((fitted - 0.5).abs() < 0.012, "{fitted}");
}

fn verdicts(judgements: &[Judgement]) -> Vec<Verdict> {
    win_rate_claims(&judged(judgements)).unwrap().iter().map(|claim| claim.verdict).collect()
}

#[test]
fn claims_hold_are_contradicted_or_undecided() {
    assert_eq!(verdicts(&study([8, 7], [6, 2], [5, 5])), [Holds; 3]);
    assert_eq!(verdicts(&study([5, 1], [7, 7], [8, 8])), [Contradicted; 3]);
    // Equal rates: nobody is ahead, and nobody is steadier; best-of-n is matched.
    assert_eq!(verdicts(&study([6, 5], [6, 5], [6, 5])), [Undecided, Undecided, Holds]);
    // One seed, and a study without PPO and best-of-n.
    let one_seed: Vec<Judgement> =
        study([8, 7], [6, 2], [5, 5]).into_iter().filter(|one| one.seed == 0).collect();
    assert_eq!(verdicts(&one_seed), [Undecided; 3]);
    assert_eq!(verdicts(&cell(Method::DPO, 0, 0.0, 20, 5)), [Undecided; 3]);
    let claims = win_rate_claims(&judged(&study([8, 7], [6, 2], [5, 5]))).unwrap();
    assert_eq!(claims[0].evidence, "Figure 2 right, one seed: 0.62 at 0 against 0.57 at 0");
    assert_eq!(claims[1].evidence, "Figure 2 right, one seed: 23 points against 50 from 0 to 1");
    assert!(claims[1].estimate.starts_with("DPO − PPO: -30 ["), "{}", claims[1].estimate);
}

#[test]
fn judges_agree_by_hand() {
    use Outcome::{Loss, Tie, Win};
    let first = [Win, Win, Tie, Loss].iter().zip(0..);
    let first = first.map(|(outcome, prompt)| one(Method::DPO, 0, 0.0, prompt, true, *outcome));
    // The same, the opposite, a tie against a win, the same; a fifth that only this judge has.
    let second = [Win, Loss, Win, Loss, Win].iter().zip(0..);
    let second = second.map(|(outcome, prompt)| Judgement {
        judge: "human".to_owned(),
        ..one(Method::DPO, 0, 0.0, prompt, false, *outcome)
    });
    let rates = win_rates(&first.chain(second).collect::<Vec<_>>(), BOOTSTRAP).unwrap();
    let found = &rates.agreement[0];
    assert_eq!((found.first.as_str(), found.second.as_str(), found.comparisons), ("r*", "human", 4));
    assert_eq!(found.rate, 2.5 / 4.0);
    // 1/2 of (win with win, half the time), 1/4 of a tie, and 1/4 of (loss with loss, half the time): all
    // 1/2.
    assert_eq!(found.by_chance, 0.5);
}

#[test]
fn records_come_back_and_complaints_name_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let judgements = study([8, 7], [6, 2], [5, 5]);
    let path = dir.path().join("judgements.csv.bz2");
    write_judgements(&path, &judgements).unwrap();
    assert_eq!(read_judgements(&path).unwrap(), judgements);
    let row = TemperatureRow {
        method: Method::BEST_OF_N,
        seed: 2,
        temperature: 0.25,
        score: 0.5,
        score_se: 0.01,
        second_opinion: 0.6,
        sequence_kl: 0.958,
        sequence_kl_se: 0.0,
        length: 24.0,
        distinct_2: 0.7,
    };
    let path = dir.path().join("temperatures.csv");
    write_temperatures(&path, std::slice::from_ref(&row)).unwrap();
    assert_eq!(read_temperatures(&path).unwrap(), [row]);

    let header = "judge,method,seed,temperature,prompt,shown,outcome\n";
    let bad = [
        (
            "r*,dpo,0,0.5,1,first,won\n",
            "column `outcome`: found `won`, but one of win, tie, loss, unreadable",
        ),
        ("r*,dpo,0,0.5,1,left,win\n", "column `shown`: found `left`, but one of first, second is expected"),
        ("r*,dpo,0,-1,1,first,win\n", "column `temperature`: found `-1`, but a number from 0 upward"),
        ("r*,d p,0,0,1,first,win\n", "column `method`: found `d p`"),
        (",dpo,0,0,1,first,win\n", "column `judge`: found ``"),
        ("r*,dpo,0,0\n", "4 fields, but the header has 7"),
    ];
    for (line, expected) in bad {
        let path = dir.path().join("bad.csv");
        std::fs::write(&path, format!("{header}{line}")).unwrap();
        let message = read_judgements(&path).unwrap_err().to_string();
        assert!(message.contains("bad.csv, line 2") && message.contains(expected), "{message}");
    }
}

#[test]
fn a_comparison_that_is_there_twice_is_refused() {
    let both_orders = [true, false].map(|first| one(Method::DPO, 3, 0.5, 7, first, Outcome::Win));
    assert!(win_rates(&both_orders, BOOTSTRAP).is_ok());
    let twice = [0, 0].map(|_| one(Method::DPO, 3, 0.5, 7, true, Outcome::Win));
    let message = win_rates(&twice, BOOTSTRAP).unwrap_err().to_string();
    assert_eq!(message, "judgements: dpo with seed 3 at temperature 0.5 on prompt 7 by r* is there twice");
    let none = Bootstrap { resamples: 0, seed: 0 };
    assert!(matches!(win_rates(&both_orders, none), Err(Error::NoResamples)));
}

#[test]
fn the_papers_points_are_there() {
    let series = paper_win_rates().unwrap();
    let names: Vec<&str> = series.iter().map(|series| series.name.as_str()).collect();
    assert_eq!(names, ["Best of 128", "DPO", "GPT-J", "PPO", "Preferred-FT", "SFT"]);
    assert_eq!(series[1].points, [(0.0, 0.617), (0.25, 0.617), (0.5, 0.594), (0.75, 0.52), (1.0, 0.387)]);
    assert_eq!((series[2].method, series[5].method), (None, Some(Method::REFERENCE)));
}

fn drawn(rates: &WinRates, paper: bool) -> String {
    let title = "Win rate against summaries that people wrote";
    win_rate_figure(&WinRateFigure { rates, title, subtitle: "3 seeds", paper }).unwrap()
}

#[test]
fn the_figure_and_the_tables_show_every_judge_and_method() {
    let mut judgements = study([8, 5], [6, 2], [5, 5]);
    let second = judgements.clone().into_iter().map(|one| Judgement { judge: "second".to_owned(), ..one });
    judgements.extend(second.collect::<Vec<_>>());
    let rates = win_rates(&judgements, BOOTSTRAP).unwrap();
    let svg = drawn(&rates, true);
    for text in
        ["judged by r*", "judged by second", "DPO", "PPO", "Best-of-n", "Rafailov et al. 2023", "win rate"]
    {
        assert!(svg.contains(text), "{text}");
    }
    assert!(!svg.contains("NaN"));
    assert_eq!(svg, drawn(&rates, true));
    // With the paper's six series there is more to draw.
    let without = drawn(&rates, false);
    assert!(without.len() < svg.len() && !without.contains("Rafailov"));
    let tables = win_rate_tables(&rates);
    let titles: Vec<&str> = tables.iter().map(|table: &Table| table.title.as_str()).collect();
    let expected = [
        "Win rate by temperature, judged by r*",
        "Differences in win rate, judged by r*",
        "Win rate by temperature, judged by second",
        "Differences in win rate, judged by second",
        "Judges",
        "Agreement between judges",
    ];
    assert_eq!(titles, expected);
    assert_eq!(tables[0].header, ["Method", "at 0", "at 1", "at its best", "loss"]);
    assert!(tables[0].rows[0][1].starts_with("80% ["), "{:?}", tables[0].rows);
    assert!(tables[5].rows[0][2].starts_with("100% ["), "{:?}", tables[5].rows);
    let answer = win_rate_answer(&rates.judges[0]).unwrap();
    assert!(
        answer.starts_with("Judged by r*, at the best temperature of each, the win rates are DPO 80% ["),
        "{answer}"
    );
    assert!(
        win_rate_figure(&WinRateFigure {
            rates: &WinRates { judges: vec![], agreement: vec![] },
            title: "",
            subtitle: "",
            paper: false
        })
        .is_err()
    );
}
