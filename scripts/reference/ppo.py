"""Writes crates/ppo/tests/fixtures/ppo.json: PPO's pieces in plain PyTorch, double precision.

    python scripts/reference/ppo.py

Inputs are random float32 numbers, so that both sides start from the same bits. Every expectation is computed by a
textbook form that shares nothing with the Rust: padded tensors, masks, autograd.
"""

import json
import pathlib

import torch

TARGET = pathlib.Path(__file__).parents[2] / "crates/ppo/tests/fixtures/ppo.json"
LENGTHS = [5, 1, 7, 0, 3]
WIDTH = max(LENGTHS)


def draw(generator, scale=1.0):
    """Random float32 values at real tokens, zero at padding, in double precision."""
    values = (torch.randn(len(LENGTHS), WIDTH, generator=generator) * scale).double()
    return values * mask()


def mask():
    return (torch.arange(WIDTH)[None, :] < torch.tensor(LENGTHS)[:, None]).double()


def masked_mean(values):
    return values[mask().bool()].mean()


def rows(values):
    return [values[i, :n].tolist() for i, n in enumerate(LENGTHS)]


def policy_case(generator, scale, clip_range):
    old = -draw(generator).abs()
    logprobs = (old + draw(generator, scale)).float().double().requires_grad_()
    advantages = draw(generator)
    ratio = torch.exp(logprobs - old)
    surrogate = torch.minimum(ratio * advantages, ratio.clip(1 - clip_range, 1 + clip_range) * advantages)
    loss = -masked_mean(surrogate)
    loss.backward()
    # The surrogate is cut where a good token is already likelier, or a bad one unlikelier, than the range allows.
    cut = ((advantages > 0) & (ratio > 1 + clip_range)) | ((advantages < 0) & (ratio < 1 - clip_range))
    return {
        "logprobs": rows(logprobs.detach()),
        "old_logprobs": rows(old),
        "advantages": rows(advantages),
        "clip_range": clip_range,
        "loss": loss.item(),
        "clip_fraction": masked_mean(cut.double()).item(),
        "approx_kl": (0.5 * masked_mean((logprobs - old) ** 2)).item(),
        "mean_ratio": masked_mean(ratio).item(),
        "gradient": rows(logprobs.grad),
    }


def value_case(generator, scale, value_clip_range):
    old = draw(generator)
    values = (old + draw(generator, scale)).float().double().requires_grad_()
    returns = draw(generator)
    clipped = torch.maximum(torch.minimum(values, old + value_clip_range), old - value_clip_range)
    worse = torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)
    loss = 0.5 * masked_mean(worse)
    loss.backward()
    fraction = masked_mean(((clipped - returns) ** 2 > (values - returns) ** 2).double())
    return {
        "values": rows(values.detach()),
        "old_values": rows(old),
        "returns": rows(returns),
        "value_clip_range": value_clip_range,
        "loss": loss.item(),
        "clip_fraction": fraction.item(),
        "gradient": rows(values.grad),
    }


def advantage_case(generator, gamma, gae_lambda):
    """GAE as the explicit sum over later one-step errors, not as a recursion."""
    rewards, values = draw(generator), draw(generator)
    after = torch.cat([values[:, 1:], torch.zeros(len(LENGTHS), 1, dtype=values.dtype)], dim=1)
    delta = (rewards + gamma * after - values) * mask()
    steps = torch.arange(WIDTH, dtype=values.dtype)
    distance = steps[None, :] - steps[:, None]
    weights = torch.where(distance >= 0, (gamma * gae_lambda) ** distance.clamp(min=0), torch.zeros(()).double())
    advantages = delta @ weights.T * mask()
    return {
        "rewards": rows(rewards),
        "values": rows(values),
        "gamma": gamma,
        "gae_lambda": gae_lambda,
        "advantages": rows(advantages),
        "returns": rows((advantages + values) * mask()),
    }


def reward_case(generator, kl_coef):
    logprobs, reference = -draw(generator).abs(), -draw(generator).abs()
    scores = torch.randn(len(LENGTHS), generator=generator).double()
    rewards = -kl_coef * (logprobs - reference)
    for i, n in enumerate(LENGTHS):
        if n:
            rewards[i, n - 1] += scores[i]
    return {
        "logprobs": rows(logprobs),
        "reference_logprobs": rows(reference),
        "scores": scores.tolist(),
        "kl_coef": kl_coef,
        "rewards": rows(rewards),
    }


def whitening_case(generator):
    values = draw(generator) * 3 + 2 * mask()
    real = values[mask().bool()]
    variance = real.var(unbiased=False)
    return {
        "values": rows(values.float().double()),
        "whitened": rows((values - real.mean()) / torch.sqrt(variance + 1e-8)),
        "scaled": rows(values / torch.sqrt(variance + 1e-8)),
    }


def rloo_case(generator, samples_per_prompt):
    """The leave-one-out baseline as a mean over the others, and REINFORCE on whole responses."""
    lengths = [5, 1, 7, 2, 3, 4]
    real = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
    logprobs = torch.randn(len(lengths), max(lengths), generator=generator).abs().neg().double() * real
    logprobs.requires_grad_()
    rewards = torch.randn(len(lengths), generator=generator).double()
    prompt = torch.arange(len(lengths)) // samples_per_prompt
    others = (prompt[:, None] == prompt[None, :]).double() - torch.eye(len(lengths)).double()
    advantages = rewards - others @ rewards / others.sum(dim=1)
    loss = -(advantages * logprobs.sum(dim=1)).mean()
    loss.backward()
    ragged = lambda values: [values[i, :n].tolist() for i, n in enumerate(lengths)]
    return {
        "logprobs": ragged(logprobs.detach()),
        "rewards": rewards.tolist(),
        "samples_per_prompt": samples_per_prompt,
        "advantages": advantages.tolist(),
        "loss": loss.item(),
        "gradient": ragged(logprobs.grad),
    }


def main():
    generator = torch.Generator().manual_seed(20170720)
    fixture = {
        "policy": [policy_case(generator, scale, clip) for scale, clip in [(0.01, 0.2), (0.3, 0.2), (1.0, 0.1)]],
        "value": [value_case(generator, scale, clip) for scale, clip in [(0.1, 0.2), (0.5, 0.2), (2.0, 1.0)]],
        "advantage": [advantage_case(generator, *case) for case in [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.99, 0.0)]],
        "reward": [reward_case(generator, kl_coef) for kl_coef in [0.0, 0.05, 2.0]],
        "whitening": [whitening_case(generator)],
        "rloo": [rloo_case(generator, samples) for samples in [2, 3, 6]],
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
