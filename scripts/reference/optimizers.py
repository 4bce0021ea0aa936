"""Writes crates/lm/tests/fixtures/optimizers.json: five steps of torch.optim.AdamW and torch.optim.RMSprop with
torch.nn.utils.clip_grad_norm_ on a small least-squares problem, in f64.

loss = mean over the 4 x 2 entries of (x W + b - y)^2. Some of the gradients exceed the clipping norm and some do not.
"""

import json
import pathlib

import torch

FIXTURE = pathlib.Path(__file__).resolve().parents[2] / "crates/lm/tests/fixtures/optimizers.json"
X = [[1.0, -0.5, 2.0], [0.25, 1.5, -1.0], [-2.0, 0.75, 0.5], [0.5, 0.5, 0.5]]
Y = [[0.5, -1.0], [1.0, 0.25], [-0.5, 0.75], [0.0, 1.0]]
WEIGHT = [[0.6, -0.4], [0.3, 0.8], [-0.7, 0.1]]
BIAS = [0.2, -0.9]
ADAMW = {"beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1}
RMSPROP = {"alpha": 0.99, "epsilon": 1e-8}
STEPS = 5


def adamw(weight, bias, learning_rate):
    groups = [
        {"params": [weight], "weight_decay": ADAMW["weight_decay"]},
        {"params": [bias], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=learning_rate, betas=(ADAMW["beta1"], ADAMW["beta2"]), eps=ADAMW["epsilon"]
    )


def rmsprop(weight, bias, learning_rate):
    return torch.optim.RMSprop(
        [weight, bias], lr=learning_rate, alpha=RMSPROP["alpha"], eps=RMSPROP["epsilon"]
    )


def run(make, learning_rate, max_grad_norm):
    weight = torch.tensor(WEIGHT, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(BIAS, dtype=torch.float64, requires_grad=True)
    x, y = torch.tensor(X, dtype=torch.float64), torch.tensor(Y, dtype=torch.float64)
    optimizer = make(weight, bias, learning_rate)
    steps = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = ((x @ weight + bias - y) ** 2).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_([weight, bias], max_grad_norm)
        optimizer.step()
        steps.append(
            {
                "loss": loss.item(),
                "grad_norm": norm.item(),
                "weight": weight.detach().flatten().tolist(),
                "bias": bias.tolist(),
            }
        )
    return {"learning_rate": learning_rate, "max_grad_norm": max_grad_norm, "steps": steps}


def main():
    fixture = {
        "x": X,
        "y": Y,
        "weight": WEIGHT,
        "bias": BIAS,
        "adamw": {**ADAMW, **run(adamw, 0.2, 0.6)},
        "rmsprop": {**RMSPROP, **run(rmsprop, 0.02, 0.6)},
    }
    for name in ("adamw", "rmsprop"):
        norms = [step["grad_norm"] for step in fixture[name]["steps"]]
        clipped = [norm > fixture[name]["max_grad_norm"] for norm in norms]
        assert any(clipped) and not all(clipped), f"{name}: {norms}"
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    FIXTURE.write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    main()
