//! Equations 3 to 7 of Rafailov et al. 2023 (arXiv 2305.18290), by enumeration.

use burn::tensor::Tensor;
use dpo::preference_loss;
use lm::sequences::to_vec;
use lm::{SequenceLogProbs, Stream};
use rand::RngExt;
use reward_model::reward_loss;

use super::enumeration::{Optimum, kl, mean, normalized, objective, sigmoid};
use super::rows::Section;
use super::settings::Settings;
use super::space::Space;

/// Random policies that must all earn less than pi*.
const RANDOM_POLICIES: u64 = 1000;

/// A space with a beta and its optimum.
pub struct Problem<'a> {
    pub space: &'a Space,
    pub settings: &'a Settings,
    pub optimum: &'a Optimum,
}

impl Problem<'_> {
    fn beta(&self) -> f64 {
        self.settings.beta()
    }

    fn objective(&self, policy: &[f64]) -> f64 {
        objective(policy, &self.space.reference, &self.space.rewards, self.beta())
    }

    /// `r(x, y) - beta log(pi(y|x) / pi_ref(y|x))` of each response.
    fn unexplained(&self, policy: &[f64]) -> Vec<f64> {
        let implicit = self.implicit_rewards(policy);
        self.space.rewards.iter().zip(implicit).map(|(reward, implicit)| reward - implicit).collect()
    }

    /// `beta log(pi(y|x) / pi_ref(y|x))` of each response.
    pub fn implicit_rewards(&self, policy: &[f64]) -> Vec<f64> {
        policy.iter().zip(&self.space.reference).map(|(p, q)| self.beta() * (p - q)).collect()
    }

    /// All ordered pairs of different responses.
    fn pairs(&self) -> Vec<(usize, usize)> {
        let all = 0..self.space.len();
        all.clone().flat_map(|w| all.clone().filter(move |&l| l != w).map(move |l| (w, l))).collect()
    }

    /// `k_w / (k_w + k_l)`: Bradley-Terry's probability, equation 1, for rewards ln k.
    fn preference(&self, (w, l): (usize, usize)) -> f64 {
        let [w, l] = [w, l].map(|index| f64::from(self.space.odds[index]));
        w / (w + l)
    }

    /// Equations 3 and 4: `pi*` is the best of all policies.
    pub fn optimality(&self) -> Section {
        let beta = self.beta();
        let mut section = Section::new(
            "optimum",
            "Equations 3 and 4: the optimum",
            "J(π) = E_π[r] − β KL(π ‖ π_ref) is largest at π*(y|x) = π_ref(y|x) exp(r(x,y)/β) / Z(x), where it is \
             β ln Z(x); every other policy falls short of that by β KL(π ‖ π*), which is never negative.",
        );
        let best = self.objective(&self.optimum.logprobs);
        section.show(
            "probability of all listed responses",
            self.space.reference.iter().map(|p| p.exp()).sum(),
            1.0,
        );
        section.show("J(π*), against β ln Z", best, beta * self.optimum.log_z);
        for (name, policy) in self.other_policies() {
            let (gap, distance) = self.shortfall(&policy);
            section.show(format!("J(π*) − J({name}), against β KL"), gap, distance);
        }
        let random = (0..RANDOM_POLICIES).map(|index| self.shortfall(&self.random_policy(index)));
        let least = random.min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((gap, distance)) = least {
            section.show("the same, least of 1,000 random policies", gap, distance);
        }
        section
    }

    fn other_policies(&self) -> [(&'static str, Vec<f64>); 4] {
        let (reference, rewards) = (&self.space.reference, &self.space.rewards);
        let tilted = |beta: f64| Optimum::new(reference, rewards, beta).logprobs;
        let best = (0..rewards.len()).max_by(|&a, &b| rewards[a].total_cmp(&rewards[b]));
        let greedy =
            (0..rewards.len()).map(|y| if Some(y) == best { 0.0 } else { f64::NEG_INFINITY }).collect();
        [
            ("π_ref", reference.clone()),
            ("π* of 2β", tilted(2.0 * self.beta())),
            ("π* of β/2", tilted(self.beta() / 2.0)),
            ("a best response alone", greedy),
        ]
    }

    /// pi* with every logit moved by up to 0.01 to 1 nats.
    fn random_policy(&self, index: u64) -> Vec<f64> {
        let mut rng = Stream::new(self.settings.seed, "random policies").child(index).rng();
        let size = 10_f64.powf(rng.random_range(-2.0..0.0));
        let moved = self.optimum.logprobs.iter().map(|logp| logp + rng.random_range(-size..size));
        normalized(&moved.collect::<Vec<_>>()).1
    }

    /// Equation 5: the reward is the implicit reward and a term in x alone.
    pub fn reparameterisation(&self) -> Section {
        let mut section = Section::new(
            "reward",
            "Equation 5: the reward in terms of its optimal policy",
            "r(x,y) − β ln(π*(y|x) / π_ref(y|x)) is one number for all responses, β ln Z(x): the policy holds the whole \
             reward but for a term in x alone.",
        );
        let expected = self.beta() * self.optimum.log_z;
        let rest = self.unexplained(&self.optimum.logprobs);
        let low = rest.iter().copied().fold(f64::INFINITY, f64::min);
        let high = rest.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        section.show("least over y of r − β ln(π*/π_ref), against β ln Z", low, expected);
        section.show("largest over y, against β ln Z", high, expected);
        for (index, value) in rest.iter().enumerate() {
            section.keep(format!("r − β ln(π*/π_ref) of response {index}"), *value, expected);
        }
        section
    }

    /// Equation 6: the preference probability without Z.
    pub fn cancellation(&self) -> Section {
        let mut section = Section::new(
            "preference",
            "Equation 6: Z cancels in a difference",
            "p(y_w ≻ y_l | x) = σ(β ln(π*(y_w|x) / π_ref(y_w|x)) − β ln(π*(y_l|x) / π_ref(y_l|x))): a preference asks for \
             a difference of rewards, and Z(x) is in both. With rewards ln k it must be k_w / (k_w + k_l).",
        );
        let implicit = self.implicit_rewards(&self.optimum.logprobs);
        let probability = |(w, l): (usize, usize)| sigmoid(implicit[w] - implicit[l]);
        let by_odds = |of: fn(&[u32]) -> Option<u32>| {
            let wanted = of(&self.space.odds);
            self.space.odds.iter().position(|k| Some(*k) == wanted).unwrap_or(0)
        };
        let best = by_odds(|odds| odds.iter().max().copied());
        let worst = by_odds(|odds| odds.iter().min().copied());
        let likeliest = (0..self.space.len())
            .max_by(|&a, &b| self.space.reference[a].total_cmp(&self.space.reference[b]))
            .unwrap_or(0);
        let odds = |index: usize| self.space.odds[index];
        for (w, l) in [(best, worst), (best, likeliest), (worst, likeliest)] {
            let name = format!("p(y_w ≻ y_l), k_w = {}, k_l = {}", odds(w), odds(l));
            section.show(name, probability((w, l)), self.preference((w, l)));
        }
        let pairs = self.pairs();
        let differences = pairs.iter().map(|&pair| (probability(pair) - self.preference(pair)).abs());
        let name = format!("largest difference over all {} pairs", pairs.len());
        section.show(name, differences.fold(0.0, f64::max), 0.0);
        let raised: Vec<f64> = self.space.rewards.iter().map(|reward| reward + 10.0).collect();
        let other = Optimum::new(&self.space.reference, &raised, self.beta());
        let moved = other.logprobs.iter().zip(&self.optimum.logprobs).map(|(a, b)| (a - b).abs());
        section.show("largest change of ln π* if every r is 10 more", moved.fold(0.0, f64::max), 0.0);
        section.show("change of β ln Z by it", self.beta() * (other.log_z - self.optimum.log_z), 10.0);
        section
    }

    /// Equations 2 and 7: one loss.
    pub fn losses(&self) -> Section {
        let mut section = Section::new(
            "loss",
            "Equations 2 and 7: one loss",
            "The reward model's loss −ln σ(r(x,y_w) − r(x,y_l)), given β ln(π/π_ref) as its scores, is DPO's loss; here the \
             functions that train the reward model and DPO, in single precision, over all pairs in Bradley-Terry's \
             proportions. At π_ref both are ln 2, and at π* the entropy of the labels, which no loss can go below.",
        );
        let pairs = self.pairs();
        let weights: Vec<f64> = pairs.iter().map(|&pair| self.preference(pair)).collect();
        let average = |losses: &[f64]| {
            let total: f64 = losses.iter().zip(&weights).map(|(loss, weight)| loss * weight).sum();
            total / weights.iter().sum::<f64>()
        };
        let entropy: Vec<f64> = weights.iter().map(|weight| -weight.ln()).collect();
        let random = self.random_policy(RANDOM_POLICIES);
        let policies = [
            ("π_ref", &self.space.reference, Some(std::f64::consts::LN_2)),
            ("a random policy", &random, None),
            ("π*", &self.optimum.logprobs, Some(average(&entropy))),
        ];
        for (name, policy, known) in policies {
            let (of_scores, of_policy) = self.both_losses(policy, &pairs);
            let expected = average(&of_scores);
            section.show(
                format!("DPO's loss at {name}, against the reward model's"),
                average(&of_policy),
                expected,
            );
            let differences = of_scores.iter().zip(&of_policy).map(|(a, b)| (a - b).abs());
            let largest = differences.fold(0.0, f64::max);
            section.show(format!("largest difference over the pairs at {name}"), largest, 0.0);
            if let Some(known) = known {
                let what = if name == "π*" { "the entropy of the labels" } else { "ln 2" };
                section.show(format!("DPO's loss at {name}, against {what}"), average(&of_policy), known);
            }
        }
        section
    }

    /// The loss of each pair: the reward model's on the implicit rewards as scores, and DPO's on the policy.
    fn both_losses(&self, policy: &[f64], pairs: &[(usize, usize)]) -> (Vec<f64>, Vec<f64>) {
        let device = &self.space.device;
        let sides = |values: &[f64]| {
            let side = |of: fn(&(usize, usize)) -> usize| {
                let values: Vec<f32> = pairs.iter().map(|pair| values[of(pair)] as f32).collect();
                Tensor::<1>::from_floats(values.as_slice(), device)
            };
            (side(|pair| pair.0), side(|pair| pair.1))
        };
        let wrap = |(w, l)| (SequenceLogProbs(w), SequenceLogProbs(l));
        let (chosen, rejected) = sides(&self.implicit_rewards(policy));
        let certain = Tensor::ones([pairs.len()], device);
        let of_scores = reward_loss(chosen, rejected, certain.clone()).loss;
        let (policy, reference) = (wrap(sides(policy)), wrap(sides(&self.space.reference)));
        let of_policy =
            preference_loss(policy, reference, certain, self.beta(), &self.settings.dpo.loss).loss;
        let numbers = |tensor| to_vec(tensor).into_iter().map(f64::from).collect();
        (numbers(of_scores), numbers(of_policy))
    }

    /// How far the implicit reward of `policy` is from r, up to a term in x: the standard deviation under pi*
    /// of `r - beta log(pi / pi_ref)`.
    pub fn reward_error(&self, policy: &[f64]) -> f64 {
        let rest = self.unexplained(policy);
        let center = mean(&self.optimum.logprobs, &rest);
        let squares: Vec<f64> = rest.iter().map(|value| (value - center).powi(2)).collect();
        mean(&self.optimum.logprobs, &squares).sqrt()
    }

    /// `J(pi*) - J(pi)` and `beta KL(pi || pi*)`, which must be the same.
    pub fn shortfall(&self, policy: &[f64]) -> (f64, f64) {
        let best = self.objective(&self.optimum.logprobs);
        (best - self.objective(policy), self.beta() * kl(policy, &self.optimum.logprobs))
    }
}
