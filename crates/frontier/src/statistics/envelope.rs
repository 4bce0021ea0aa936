//! The upper envelope of a method's points, plain and cross-fitted.

use serde::{Deserialize, Serialize};

use crate::statistics::isotonic::Isotonic;

/// One checkpoint as each half of the prompts sees it: (x, reward), twice; x is a KL in nats or a cost.
pub type Halves = [(f64, f64); 2];

/// What there is between two checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Between {
    /// Policies that answer with the one or with the other at random. For x = KL.
    Mixtures,
    /// Nothing: the first one serves until the second. For x = cost, where a mixture would have to pay for
    /// both.
    Nothing,
}

/// The highest reward within each x that a method's checkpoints earn, above the reference's reward at x = 0.
///
/// # Plain
/// From one set of numbers. Along a cost it is the best checkpoint at or below x, a step function:
///
/// ```text
/// E(x) = max({start} ∪ {r_i : x_i <= x})
/// ```
///
/// Along the KL it is the least concave function above these steps, the chords between checkpoints that no
/// other chord passes over. They are earned: the policy that draws a whole response from `pi_1` with
/// probability w and from `pi_2` otherwise has the reward `w r_1 + (1 - w) r_2`, and its KL is at most
/// `w KL_1 + (1 - w) KL_2`, because the KL is convex in its first argument (Cover and Thomas 2006, theorem
/// 2.7.2). The reference itself is one of the policies. So a run that happens to end a little beyond a KL
/// counts there, and two methods are compared at one KL though their runs end at different ones.
///
/// Beyond the last vertex it stays flat, since a policy of smaller KL is at hand there too. But a maximum
/// over noisy rewards is biased upward, by up to about 2 standard errors when many points crowd together, and
/// so favours the method with more checkpoints.
///
/// # Cross-fitted
/// From two halves A and B of the prompts. Each half chooses its vertices, and the other half reads them:
///
/// ```text
/// v_H  = vertices of the plain envelope of (x_iH, c_iH)       for H = A, B
/// E    = w_B L(v_A, r_B) + w_A L(v_B, r_A)                    w_H: the half's share of the prompts
/// c_iH = f_H(x_iH) + s_H e_iH,   e_iH = r_iH - f_H(x_iH)
/// s_H  = max(0, 1 - noise_H / V_H),   V_H = sum_i e_iH² / (points - parameters of f_H)
/// ```
///
/// where `L(v, r)` goes through the rewards r of the vertices v, `f_H` is the trend of the half's rewards
/// along x (by least squares: `start + a sqrt(x) + b x` along the KL, isotonic along a cost), and `noise_H`
/// the variance of a reward's error in that half. The noise of a reading is independent of the choice, so
/// that E(x) is, in expectation, the true reward of the policies that one half chooses: nothing is gained by
/// having more checkpoints to choose from.
///
/// A choice by `r_iH` itself would be unbiased in the same sense and yet bad: among many checkpoints of
/// nearly one reward, noise often picks one that is not the best, and the envelope would fall short of the
/// best policy by half a standard error or more. So a checkpoint's lead over the trend is shrunk as James and
/// Stein do: `s_H` is the part of the residuals' variance that noise does not explain, 1 where differences
/// between checkpoints are real and 0 where they are noise.
///
/// What bias is left is downward: half of the prompts still choose a checkpoint that is not the best one now
/// and then. The envelope may fall a little where the choice changes, and need not be concave. With numbers
/// that are equal in both halves and without noise it is the plain one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// (x, reward), x increasing from 0.
    vertices: Vec<(f64, f64)>,
    between: Between,
}

impl Envelope {
    /// The plain envelope of `points` = (x, reward) above `start`.
    ///
    /// Points that are not finite are left out. An x below 0 (rounding of a KL of 0) counts as 0.
    pub fn new(start: f64, points: impl IntoIterator<Item = (f64, f64)>, between: Between) -> Self {
        let finite = points.into_iter().filter(|(x, reward)| x.is_finite() && reward.is_finite());
        let points: Vec<(f64, f64)> = finite.map(|(x, reward)| (x.max(0.0), reward)).collect();
        let indexed = points.iter().enumerate().map(|(index, (x, reward))| (*x, *reward, index)).collect();
        let vertices = chosen(start, indexed, between);
        let of = |choice: Option<usize>| choice.map_or(start, |index| points[index].1);
        Self::of_vertices(vertices.into_iter().map(|(x, choice)| (x, of(choice))), between)
    }

    /// The cross-fitted envelope of `points` above the reference's reward in each half; the first half
    /// holds `first_share` of the prompts, and `noise` is the variance of a reward's error in each half,
    /// without what all points share.
    ///
    /// Points that are not finite in both halves are left out. An x below 0 counts as 0.
    pub fn cross_fitted(
        start: [f64; 2],
        points: &[Halves],
        first_share: f64,
        noise: [f64; 2],
        between: Between,
    ) -> Self {
        let choices = Choices::new(start, points, noise, between);
        choices.read(start, first_share, |point| points[point].map(|half| half.1))
    }

    /// An envelope through vertices at increasing x, without those that change nothing.
    fn of_vertices(vertices: impl IntoIterator<Item = (f64, f64)>, between: Between) -> Self {
        let mut kept: Vec<(f64, f64)> = Vec::new();
        for vertex in vertices {
            let flat = |last: &[(f64, f64)]| last.iter().all(|last| last.1.total_cmp(&vertex.1).is_eq());
            match between {
                Between::Nothing if !kept.is_empty() && flat(&kept[kept.len() - 1..]) => continue,
                Between::Mixtures if kept.len() >= 2 && flat(&kept[kept.len() - 2..]) => {
                    kept.truncate(kept.len() - 1);
                }
                Between::Nothing | Between::Mixtures => {}
            }
            kept.push(vertex);
        }
        Self { vertices: kept, between }
    }

    /// The mean of several envelopes at each x. `None` for an empty list.
    pub fn mean(envelopes: &[Self]) -> Option<Self> {
        let between = envelopes.first()?.between;
        let count = envelopes.len() as f64;
        let at = |x| envelopes.iter().map(|envelope| envelope.at(x)).sum::<f64>() / count;
        let vertices = union(envelopes.iter().map(|envelope| envelope.vertices.as_slice()));
        Some(Self { vertices: vertices.into_iter().map(|x| (x, at(x))).collect(), between })
    }

    /// (x, reward) from x = 0 upward: the envelope goes straight from one to the next, or steps up at
    /// each, as [`Between`] says.
    pub fn vertices(&self) -> &[(f64, f64)] {
        &self.vertices
    }

    /// The reward at `x`.
    pub fn at(&self, x: f64) -> f64 {
        along(&self.vertices, self.between, x, |vertex| vertex.1)
    }

    /// The smallest x at which the envelope reaches `reward`; `None` if it never does.
    pub fn reach(&self, reward: f64) -> Option<f64> {
        let index = self.vertices.iter().position(|vertex| vertex.1 >= reward)?;
        let (x, high) = self.vertices[index];
        let before = index.checked_sub(1).map(|before| self.vertices[before]);
        Some(match (self.between, before) {
            (Between::Mixtures, Some((from, low))) => x - (x - from) * (high - reward) / (high - low),
            (Between::Nothing, _) | (Between::Mixtures, None) => x,
        })
    }

    /// The area under the envelope from 0 to `limit`, divided by `limit`: the mean reward over [0, limit].
    ///
    /// `limit` is above 0, in the unit of x.
    pub fn mean_to(&self, limit: f64) -> f64 {
        let ends = self.vertices[1..].iter().map(|vertex| vertex.0).chain([f64::INFINITY]);
        let areas = self.vertices.iter().zip(ends).map(|((from, reward), end)| {
            let to = end.min(limit);
            match self.between {
                _ if to <= *from => 0.0,
                Between::Nothing => (to - from) * reward,
                Between::Mixtures => (to - from) * f64::midpoint(*reward, self.at(to)),
            }
        });
        areas.sum::<f64>() / limit
    }
}

/// A vertex that a half of the prompts chooses: its x there, and the point; `None` is the reference.
type Vertex = (f64, Option<usize>);

/// The vertices that each half of the prompts chooses: a cross-fitted envelope before it is read.
#[derive(Clone, Debug)]
pub(crate) struct Choices {
    halves: [Vec<Vertex>; 2],
    /// `c_iH` of every point: its reward in each half with the noise shrunk away; NaN for a
    /// point that was left out.
    shrunk: Vec<[f64; 2]>,
    between: Between,
}

impl Choices {
    /// Chooses among `points` above `start`; see [`Envelope::cross_fitted`].
    pub(crate) fn new(start: [f64; 2], points: &[Halves], noise: [f64; 2], between: Between) -> Self {
        let finite = |halves: &Halves| halves.iter().all(|(x, reward)| x.is_finite() && reward.is_finite());
        let kept: Vec<usize> = (0..points.len()).filter(|index| finite(&points[*index])).collect();
        let mut all = vec![[f64::NAN; 2]; points.len()];
        let halves = [0, 1].map(|half| {
            let seen: Vec<(f64, f64)> =
                kept.iter().map(|index| (points[*index][half].0.max(0.0), points[*index][half].1)).collect();
            let compared = shrunk(start[half], &seen, noise[half], between);
            for (index, compared) in kept.iter().zip(&compared) {
                all[*index][half] = *compared;
            }
            let along = seen.iter().zip(compared).zip(&kept);
            chosen(
                start[half],
                along.map(|(((x, _), compared), index)| (*x, compared, *index)).collect(),
                between,
            )
        });
        Self { halves, shrunk: all, between }
    }

    /// Reads what each half chose on the other half: `rewards` of a point in both halves, `start` those of
    /// the reference. A choice is read by as many prompts as the other half has.
    pub(crate) fn read(
        &self,
        start: [f64; 2],
        first_share: f64,
        rewards: impl Fn(usize) -> [f64; 2],
    ) -> Envelope {
        let xs = union(self.halves.iter().map(Vec::as_slice));
        let at = |x: f64| self.reading(x, first_share, |one| one.map_or(start, &rewards));
        Envelope::of_vertices(xs.into_iter().map(|x| (x, at(x))), self.between)
    }

    /// A point's reward in each half with the noise shrunk away.
    pub(crate) fn shrunk(&self, point: usize) -> [f64; 2] {
        self.shrunk[point]
    }

    /// The envelope in a replicate of the prompts whose rewards would make the choices `anew`:
    ///
    /// ```text
    /// E_b = L(v, r_b) + L(v_b, c) - L(v, c)
    /// ```
    ///
    /// in both halves as in [`Envelope::cross_fitted`]. Given the choice v, the noise of a reading is
    /// that of its prompts, which the first term resamples; what choosing otherwise would change is told
    /// by the shrunk rewards c. Read like the first term, another choice would bring the noise of the
    /// study's own reading a second time.
    pub(crate) fn replicate(
        &self,
        anew: &Self,
        starts: ([f64; 2], [f64; 2]),
        first_share: f64,
        rewards: impl Fn(usize) -> [f64; 2],
    ) -> Envelope {
        let (observed, resampled) = starts;
        let shrunk = |one: Option<usize>| one.map_or(observed, |index| self.shrunk[index]);
        let drawn = |one: Option<usize>| one.map_or(resampled, &rewards);
        let xs = union(self.halves.iter().chain(&anew.halves).map(Vec::as_slice));
        let at = |x: f64| {
            let moved = anew.reading(x, first_share, shrunk) - self.reading(x, first_share, shrunk);
            self.reading(x, first_share, drawn) + moved
        };
        Envelope::of_vertices(xs.into_iter().map(|x| (x, at(x))), self.between)
    }

    /// What the choices of both halves earn at `x`: each on the other half, `rewards` being those in both
    /// halves.
    fn reading(&self, x: f64, first_share: f64, rewards: impl Fn(Option<usize>) -> [f64; 2]) -> f64 {
        let [by_first, by_second] = &self.halves;
        let on_second = along(by_first, self.between, x, |vertex| rewards(vertex.1)[1]);
        let on_first = along(by_second, self.between, x, |vertex| rewards(vertex.1)[0]);
        // In this form the mean of equal numbers is that number.
        on_second + first_share * (on_first - on_second)
    }
}

/// The value at `x` of what goes through the `value`s of vertices at increasing x; flat after the last one.
fn along<V>(vertices: &[(f64, V)], between: Between, x: f64, value: impl Fn(&(f64, V)) -> f64) -> f64 {
    let after = vertices.partition_point(|vertex| vertex.0 <= x).max(1);
    let before = &vertices[after - 1];
    match (between, vertices.get(after)) {
        (Between::Nothing, _) | (Between::Mixtures, None) => value(before),
        (Between::Mixtures, Some(next)) => {
            let (low, high) = (value(before), value(next));
            low + (high - low) * ((x - before.0) / (next.0 - before.0)).max(0.0)
        }
    }
}

/// All x of several lists of vertices, once each and increasing.
fn union<'a, V: 'a>(lists: impl Iterator<Item = &'a [(f64, V)]>) -> Vec<f64> {
    let mut xs: Vec<f64> = lists.flatten().map(|vertex| vertex.0).collect();
    xs.sort_unstable_by(f64::total_cmp);
    xs.dedup();
    xs
}

/// How rewards rise along x, but for what single checkpoints have over it.
enum Trend {
    /// `start + a sqrt(x) + b x`, for x = KL. The optimum gains `sd sqrt(2 KL)` at first, sd being that of
    /// the reward under the reference, and saturates.
    Root { start: f64, a: f64, b: f64 },
    /// The isotonic fit, for x = cost.
    Isotonic { start: f64, fit: Isotonic },
}

impl Trend {
    /// The least-squares fit to `points` = (x, reward) above `start`.
    fn fit(start: f64, points: &[(f64, f64)], between: Between) -> Self {
        match between {
            Between::Nothing => {
                let points = points.iter().map(|&(x, reward)| (x, reward, 1.0));
                Self::Isotonic { start, fit: Isotonic::fit(points.chain([(0.0, start, 1.0)])) }
            }
            Between::Mixtures => {
                let sum =
                    |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|(x, r)| of(*x, r - start)).sum::<f64>();
                // The normal equations of sqrt(x) and x.
                let (xx, xr, rr) = (sum(&|x, _| x * x), sum(&|x, _| x * x.sqrt()), sum(&|x, _| x));
                let (gain_x, gain_r) = (sum(&|x, gain| x * gain), sum(&|x, gain| x.sqrt() * gain));
                let determinant = rr * xx - xr * xr;
                if determinant > 1e-9 * rr * xx {
                    let a = (gain_r * xx - gain_x * xr) / determinant;
                    let b = (gain_x * rr - gain_r * xr) / determinant;
                    Self::Root { start, a, b }
                } else {
                    // All at one KL.
                    Self::Root { start, a: if rr > 0.0 { gain_r / rr } else { 0.0 }, b: 0.0 }
                }
            }
        }
    }

    fn at(&self, x: f64) -> f64 {
        match self {
            Self::Root { start, a, b } => start + a * x.sqrt() + b * x,
            Self::Isotonic { start, fit } => fit.at(x).unwrap_or(*start),
        }
    }

    /// Numbers that the fit has taken from the points.
    fn parameters(&self) -> usize {
        match self {
            Self::Root { .. } => 2,
            Self::Isotonic { fit, .. } => fit.blocks().len().saturating_sub(1),
        }
    }
}

/// What a choice among `points` = (x, reward) goes by: the trend, and the part of the lead
/// over it that is not noise.
fn shrunk(start: f64, points: &[(f64, f64)], noise: f64, between: Between) -> Vec<f64> {
    if noise <= 0.0 {
        return points.iter().map(|point| point.1).collect();
    }
    let trend = Trend::fit(start, points, between);
    let squares: f64 = points.iter().map(|(x, reward)| (reward - trend.at(*x)).powi(2)).sum();
    let free = points.len().saturating_sub(trend.parameters()).max(1);
    let variance = squares / free as f64;
    let real = if variance > 0.0 { (1.0 - noise / variance).max(0.0) } else { 1.0 };
    points.iter().map(|(x, reward)| trend.at(*x) + real * (reward - trend.at(*x))).collect()
}

/// The vertices of the plain envelope of `points` = (x, what is compared, index) above `start`. Of equals the
/// farthest counts too: a trend that is flat there says that nothing falls before it.
fn chosen(start: f64, mut points: Vec<(f64, f64, usize)>, between: Between) -> Vec<Vertex> {
    points.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
    let mut best: Vec<(f64, f64, Option<usize>)> = vec![(0.0, start, None)];
    for (x, compared, index) in points {
        let (last_x, highest, _) = best[best.len() - 1];
        if compared > highest || (x > last_x && compared >= highest) {
            if x <= last_x {
                best.pop();
            }
            if between == Between::Mixtures {
                while best.len() >= 2 && passes_over(&best[best.len() - 2..], (x, compared)) {
                    best.pop();
                }
            }
            best.push((x, compared, Some(index)));
        }
    }
    best.into_iter().map(|(x, _, index)| (x, index)).collect()
}

/// Whether the chord from the first of two vertices to `end` lies above the second.
fn passes_over(two: &[(f64, f64, Option<usize>)], end: (f64, f64)) -> bool {
    let ((x, y), (middle_x, middle_y)) = ((two[0].0, two[0].1), (two[1].0, two[1].1));
    (middle_y - y) * (end.0 - x) < (end.1 - y) * (middle_x - x)
}
