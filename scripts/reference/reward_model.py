"""Writes the fixtures of crates/reward-model: Bradley-Terry loss, gradients and a few optimiser steps in PyTorch.

    python scripts/reference/reward_model.py

Needs torch, transformers and numpy; versions are recorded in the fixtures. Everything comes from a fixed seed, so a
second run writes the same files.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import transformers

FIXTURES = Path(__file__).resolve().parents[2] / "crates" / "reward-model" / "tests" / "fixtures"
SEED = 20260116
END, PAD, VOCAB = 0, 1, 64

OPTIMIZER = {
    "algorithm": {"name": "adamw", "beta1": 0.9, "beta2": 0.98, "epsilon": 1e-6, "weight_decay": 0.1},
    "learning_rate": 0.003,
    "schedule": {"warmup_steps": 2, "decay": "constant", "floor": 1.0},
    "max_grad_norm": 0.5,
}


def loss_of_scores(rng):
    """-log sigma(r_w - r_l) and its gradients, in double precision."""
    draws = np.round(rng.normal(0.0, 3.0, size=(2, 8)), 3)
    w, l = (torch.tensor(row, dtype=torch.float64, requires_grad=True) for row in draws)
    per_pair = -F.logsigmoid(w - l)
    per_pair.mean().backward()
    return {
        "chosen": draws[0].tolist(),
        "rejected": draws[1].tolist(),
        "per_pair": per_pair.tolist(),
        "gradient_chosen": w.grad.tolist(),
        "gradient_rejected": l.grad.tolist(),
    }


def tiny_classifier():
    config = transformers.GPT2Config(
        vocab_size=VOCAB, n_positions=24, n_embd=16, n_layer=2, n_head=4, num_labels=1,
        attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0,
        bos_token_id=END, eos_token_id=END, pad_token_id=PAD,
    )
    model = transformers.GPT2ForSequenceClassification(config).eval()
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean = 1.0 if ".ln_" in name and name.endswith("weight") else 0.0
            parameter.copy_(mean + 0.25 * torch.randn(parameter.shape, generator=generator))
    return model


def random_pairs(rng, count):
    pairs = []
    for _ in range(count):
        ids = lambda low, high: [int(i) for i in rng.integers(2, VOCAB, size=rng.integers(low, high))]
        end = lambda: [END] if rng.random() < 0.5 else []
        pairs.append({"prompt": [END] + ids(0, 5), "chosen": ids(1, 10) + end(), "rejected": ids(1, 10) + end()})
    return pairs


def scores(model, pairs, side):
    """Scores of whole sequences, one at a time: without padding the last token is the last real one."""
    return torch.cat([model(torch.tensor([pair["prompt"] + pair[side]])).logits[:, 0] for pair in pairs])


def train(model, pairs, steps):
    """Full-batch training; what each step saw before its update."""
    algorithm = OPTIMIZER["algorithm"]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": algorithm["weight_decay"]},
            {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ],
        betas=(algorithm["beta1"], algorithm["beta2"]),
        eps=algorithm["epsilon"],
    )
    warmup = OPTIMIZER["schedule"]["warmup_steps"]
    seen = []
    for step in range(steps):
        w, l = (scores(model, pairs, side) for side in ("chosen", "rejected"))
        loss = -F.logsigmoid(w - l).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER["max_grad_norm"])
        rate = OPTIMIZER["learning_rate"] * min(1.0, (step + 1) / (warmup + 1))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        both = torch.cat([w, l])
        seen.append({
            "loss": loss.item(),
            "accuracy": (w > l).double().mean().item(),
            "margin": (w - l).mean().item(),
            "min_reward": both.min().item(),
            "mean_reward": both.mean().item(),
            "max_reward": both.max().item(),
            "grad_norm": norm.item(),
            "learning_rate": rate,
        })
    return seen


def main():
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    model = tiny_classifier()
    folder = FIXTURES / "tiny-gpt2-reward"
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "model.safetensors").chmod(0o644)
    # The stored weights are f32; what is computed from them is f64.
    model = model.double()
    losses = loss_of_scores(rng)
    pairs = random_pairs(rng, 6)
    with torch.no_grad():
        start = {side: scores(model, pairs, side).tolist() for side in ("chosen", "rejected")}
    fixture = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "loss": losses,
        "pairs": pairs,
        "scores_at_start": start,
        "optimizer": OPTIMIZER,
        "steps": train(model, pairs, 4),
    }
    (FIXTURES / "training.json").write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    main()
