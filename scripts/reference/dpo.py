"""Writes the fixtures of crates/dpo: preference losses, their gradients and a few optimiser steps in PyTorch.

    python scripts/reference/dpo.py

Needs torch, transformers, tokenizers and numpy; versions are recorded in the fixtures. Sequences, weights and
log-probs come from a fixed seed, so a second run writes the same files.
"""

import copy
import json
from pathlib import Path

import numpy as np
import tokenizers
import torch
import torch.nn.functional as F
import transformers

FIXTURES = Path(__file__).resolve().parents[2] / "crates" / "dpo" / "tests" / "fixtures"
SEED = 20260115
END, PAD, VOCAB = 0, 1, 64
TEMPERATURE = 0.8

LOSSES = [
    {"name": "sigmoid", "label_smoothing": 0.0},
    {"name": "sigmoid", "label_smoothing": 0.1},
    {"name": "ipo"},
    {"name": "hinge"},
    {"name": "unlikelihood", "alpha": 0.4},
]
OPTIMIZER = {
    "algorithm": {"name": "adamw", "beta1": 0.9, "beta2": 0.98, "epsilon": 1e-6, "weight_decay": 0.1},
    "learning_rate": 0.003,
    "schedule": {"warmup_steps": 2, "decay": "constant", "floor": 1.0},
    "max_grad_norm": 1.5,
}


def preference_loss(policy_w, policy_l, reference_w, reference_l, beta, loss):
    """Loss of each pair with a hard label and both implicit rewards, from log-probs of whole responses."""
    ratio_w = policy_w - reference_w
    ratio_l = policy_l - reference_l
    h = ratio_w - ratio_l
    if loss["name"] == "sigmoid":
        eps = loss["label_smoothing"]
        per_pair = -(1 - eps) * F.logsigmoid(beta * h) - eps * F.logsigmoid(-beta * h)
    elif loss["name"] == "ipo":
        per_pair = (h - 1 / (2 * beta)) ** 2
    elif loss["name"] == "hinge":
        per_pair = torch.relu(1 - beta * h)
    else:
        per_pair = -policy_w + loss["alpha"] * policy_l
    return per_pair, (beta * ratio_w).detach(), (beta * ratio_l).detach()


def soft_loss(policy_w, policy_l, reference_w, reference_l, probability, beta, loss):
    """The same where the first response is the better one with a probability: the mean over both labels."""
    right, reward_w, reward_l = preference_loss(policy_w, policy_l, reference_w, reference_l, beta, loss)
    flipped, _, _ = preference_loss(policy_l, policy_w, reference_l, reference_w, beta, loss)
    return probability * right + (1 - probability) * flipped, reward_w, reward_l


def random_logprobs(rng, soft):
    """Losses and gradients on random log-probs, in double precision, with hard or soft labels."""
    cases = []
    for loss in LOSSES:
        for beta in (0.05, 0.5, 5.0):
            # Rounded, so that the fixture holds exactly what was computed with.
            draws = np.round(rng.normal(-40.0, 8.0, size=(4, 6)), 3)
            w, l, rw, rl = (torch.tensor(row, dtype=torch.float64) for row in draws)
            w.requires_grad_(True)
            l.requires_grad_(True)
            probability = np.round(rng.uniform(0.5, 1.0, size=6), 3) if soft else np.ones(6)
            per_pair, reward_w, reward_l = soft_loss(w, l, rw, rl, torch.tensor(probability), beta, loss)
            per_pair.mean().backward()
            cases.append({
                "loss": loss,
                "beta": beta,
                "policy_chosen": draws[0].tolist(),
                "policy_rejected": draws[1].tolist(),
                "reference_chosen": draws[2].tolist(),
                "reference_rejected": draws[3].tolist(),
                "probability": probability.tolist(),
                "per_pair": per_pair.tolist(),
                "chosen_rewards": reward_w.tolist(),
                "rejected_rewards": reward_l.tolist(),
                "gradient_chosen": w.grad.tolist(),
                "gradient_rejected": l.grad.tolist(),
            })
    return cases


def tiny_gpt2():
    """A GPT-2 whose weights are large enough that attention, norms and biases all matter."""
    config = transformers.GPT2Config(
        vocab_size=VOCAB, n_positions=24, n_embd=16, n_layer=2, n_head=4,
        attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0,
        bos_token_id=END, eos_token_id=END, pad_token_id=PAD,
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean = 1.0 if ".ln_" in name and name.endswith("weight") else 0.0
            parameter.copy_(mean + 0.25 * torch.randn(parameter.shape, generator=generator))
    return model


def save_folder(model, folder):
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "model.safetensors").chmod(0o644)
    (folder / "generation_config.json").unlink(missing_ok=True)
    words = {"<|endoftext|>": END, "<|pad|>": PAD} | {f"w{i}": i for i in range(2, VOCAB)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<|pad|>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|pad|>"])
    tokenizer.save(str(folder / "tokenizer.json"))


def random_pairs(rng, count):
    """Pairs of ragged lengths; some responses end with the end token."""
    pairs = []
    for _ in range(count):
        ids = lambda low, high: [int(i) for i in rng.integers(2, VOCAB, size=rng.integers(low, high))]
        end = lambda: [END] if rng.random() < 0.5 else []
        pairs.append({"prompt": [END] + ids(0, 5), "chosen": ids(1, 10) + end(), "rejected": ids(1, 10) + end()})
    return pairs


def sequence_logprob(model, prompt, response):
    """log p(response | prompt), one sequence at a time, so that there is no padding to go wrong."""
    ids = torch.tensor([prompt + response])
    logits = model(ids).logits[0, :-1] / TEMPERATURE
    logprobs = F.log_softmax(logits, dim=-1)
    start = len(prompt) - 1
    return sum(logprobs[start + t, token] for t, token in enumerate(response))


def all_logprobs(model, pairs, side):
    return torch.stack([sequence_logprob(model, pair["prompt"], pair[side]) for pair in pairs])


def train(start, pairs, reference, loss, beta, steps):
    """Full-batch training; what each step saw before its update."""
    model = copy.deepcopy(start)
    algorithm = OPTIMIZER["algorithm"]
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": algorithm["weight_decay"]},
            {"params": vectors, "weight_decay": 0.0},
        ],
        betas=(algorithm["beta1"], algorithm["beta2"]),
        eps=algorithm["epsilon"],
    )
    warmup = OPTIMIZER["schedule"]["warmup_steps"]
    reference_w, reference_l = (
        torch.tensor(reference[side], dtype=torch.float64) for side in ("chosen", "rejected")
    )
    seen = []
    for step in range(steps):
        w, l = (all_logprobs(model, pairs, side) for side in ("chosen", "rejected"))
        per_pair, reward_w, reward_l = preference_loss(w, l, reference_w, reference_l, beta, loss)
        optimizer.zero_grad()
        per_pair.mean().backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER["max_grad_norm"])
        rate = OPTIMIZER["learning_rate"] * min(1.0, (step + 1) / (warmup + 1))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        seen.append({
            "loss": per_pair.mean().item(),
            "rewards/chosen": reward_w.mean().item(),
            "rewards/rejected": reward_l.mean().item(),
            "rewards/accuracies": (reward_w > reward_l).double().mean().item(),
            "rewards/margins": (reward_w - reward_l).mean().item(),
            "logps/chosen": w.mean().item(),
            "logps/rejected": l.mean().item(),
            "grad_norm": norm.item(),
            "learning_rate": rate,
        })
    return seen


def end_to_end(rng):
    model = tiny_gpt2()
    save_folder(model, FIXTURES / "tiny-gpt2")
    # The stored weights are f32; what is computed from them is f64.
    model = model.double()
    pairs = random_pairs(rng, 6)
    with torch.no_grad():
        start = {side: all_logprobs(model, pairs, side).tolist() for side in ("chosen", "rejected")}
    # Numbers of no model: a reference unlike the policy, so that its part in the loss shows at the first step.
    reference = {
        side: [round(value + float(shift), 3) for value, shift in zip(values, rng.normal(0, 3, len(values)))]
        for side, values in start.items()
    }
    cases = [
        {"loss": loss, "beta": beta, "steps": train(model, pairs, reference, loss, beta, 4)}
        for loss, beta in zip(LOSSES, (0.3, 0.3, 0.5, 0.3, 1.0))
    ]
    return {
        "temperature": TEMPERATURE,
        "pairs": pairs,
        "logprobs_at_start": start,
        "reference": reference,
        "optimizer": OPTIMIZER,
        "cases": cases,
    }


def main():
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    # From a generator of its own, so that the other fixtures do not depend on it.
    soft = random_logprobs(np.random.default_rng(SEED + 1), True)
    FIXTURES.mkdir(parents=True, exist_ok=True)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    write = lambda name, value: (FIXTURES / name).write_text(json.dumps(value, indent=1) + "\n")
    write("losses.json", {"versions": versions, "cases": random_logprobs(rng, False) + soft})
    write("training.json", {"versions": versions, **end_to_end(rng)})


if __name__ == "__main__":
    main()
