"""Write the PyTorch fixtures of the crate `fused`.

Inputs are a formula, `amplitude * sin(0.7 i^2 + phase)` with the input's index as its phase, so
that the fixtures hold only results: some elements of the output and of the gradients of
`sum(upstream * output)`. PyTorch computes in float64 from inputs rounded to float32.

    python scripts/reference/fused.py
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F
from transformers.models.gptj import modeling_gptj
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

OUT = pathlib.Path(__file__).parents[2] / "crates/fused/tests/fixtures/fused.json"
SAMPLES = 40


def wave(n: int, amplitude: float, phase: float) -> torch.Tensor:
    values = [amplitude * math.sin(0.7 * i * i + phase) for i in range(n)]
    return torch.tensor(values, dtype=torch.float64).float().double()


def linear(x, n, i, o):
    return F.linear(x[0].view(n, i), x[1].view(i, o).T, x[2])


def layer_norm(x, n, d):
    return F.layer_norm(x[0].view(n, d), (d,), x[1], x[2], eps=1e-5)


def gelu(x, n, d):
    return F.gelu(x[0].view(n, d), approximate="tanh")


def causal_attention(x, b, t, h, hd):
    q, k, v = x[0].view(b, t, 3, h, hd).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return y.transpose(1, 2).reshape(b, t, h * hd)


def target_logprobs(x, n, d, v):
    targets = torch.tensor([(i * 7919 + v - 1) % v for i in range(n)])
    logits = x[0].view(n, d) @ x[1].view(v, d).T
    return torch.log_softmax(logits, -1).gather(1, targets[:, None])


def biased_logprobs(x, n, d, v):
    targets = torch.tensor([(i * 7919 + v - 1) % v for i in range(n)])
    return torch.log_softmax(F.linear(x[0].view(n, d), x[1].view(v, d), x[2]), -1).gather(1, targets[:, None])


def embedding(x, v, d, n):
    return F.embedding(torch.tensor([i * i % v for i in range(n)]), x[0].view(v, d))


def grouped_attention(x, b, t, queries, keys, hd):
    q, k, v = x[0].view(b, t, queries + 2 * keys, hd).transpose(1, 2).split([queries, keys, keys], 1)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return y.transpose(1, 2).reshape(b, t, queries * hd)


def product(x, n, i, o):
    return F.linear(x[0].view(n, i), x[1].view(o, i))


def affine(x, n, i, o):
    return F.linear(x[0].view(n, i), x[1].view(o, i), x[2])


def rms_norm(x, n, d):
    return F.rms_norm(x[0].view(n, d), (d,), x[1], eps=1e-5)


def rope(x, n, queries, keys, hd):
    """transformers' own rotation, in float64."""
    q, k, v = x[0].view(1, n, queries + 2 * keys, hd).transpose(1, 2).split([queries, keys, keys], 1)
    positions = torch.tensor([2 + row * row % 11 for row in range(n)], dtype=torch.float64)
    frequencies = 100.0 ** (-torch.arange(0, hd, 2, dtype=torch.float64) / hd)
    angles = torch.outer(positions, frequencies).repeat(1, 2)[None]
    q, k = apply_rotary_pos_emb(q, k, angles.cos(), angles.sin())
    return torch.cat([q, k, v], 1).transpose(1, 2)


def rope_of_neighbours(x, n, heads, hd, rotated):
    """transformers' rotation of GPT-J, in float64."""
    q, k, v = x[0].view(1, n, 3 * heads, hd).split(heads, 2)
    positions = torch.tensor([2 + row * row % 11 for row in range(n)], dtype=torch.float64)
    frequencies = 100.0 ** (-torch.arange(0, rotated, 2, dtype=torch.float64) / rotated)
    angles = torch.outer(positions, frequencies)[None]

    def rotate(y):
        turned = modeling_gptj.apply_rotary_pos_emb(y[..., :rotated], angles.sin(), angles.cos())
        return torch.cat([turned, y[..., rotated:]], -1)

    return torch.cat([rotate(q), rotate(k), v], 2)


def swiglu(x, n, d):
    return F.silu(x[0]) * x[1]


LENS = {
    linear: lambda n, i, o: [n * i, i * o, o],
    layer_norm: lambda n, d: [n * d, d, d],
    gelu: lambda n, d: [n * d],
    causal_attention: lambda b, t, h, hd: [b * t * 3 * h * hd],
    target_logprobs: lambda n, d, v: [n * d, v * d],
    embedding: lambda v, d, n: [v * d],
    grouped_attention: lambda b, t, q, k, hd: [b * t * (q + 2 * k) * hd],
    product: lambda n, i, o: [n * i, o * i],
    affine: lambda n, i, o: [n * i, o * i, o],
    biased_logprobs: lambda n, d, v: [n * d, v * d, v],
    rope_of_neighbours: lambda n, h, hd, r: [n * 3 * h * hd],
    rms_norm: lambda n, d: [n * d, d],
    rope: lambda n, q, k, hd: [n * (q + 2 * k) * hd],
    swiglu: lambda n, d: [n * d, n * d],
}

CASES = [
    (linear, (1, 17, 5), 1.0),
    (linear, (33, 19, 50), 1.0),
    (layer_norm, (1, 17), 1.0),
    (layer_norm, (70, 33), 3.0),
    (gelu, (1, 17), 1.0),
    (gelu, (9, 40), 6.0),
    (causal_attention, (2, 1, 2, 5), 1.0),
    (causal_attention, (2, 17, 3, 7), 1.0),
    (causal_attention, (1, 65, 2, 16), 2.0),
    (target_logprobs, (1, 17, 40), 1.0),
    (target_logprobs, (19, 17, 101), 1.0),
    (target_logprobs, (3, 9, 50257), 1.0),
    # |logits| up to about 1e3
    (target_logprobs, (5, 9, 101), 15.0),
    (embedding, (11, 17, 1), 1.0),
    (embedding, (11, 17, 30), 1.0),
    (grouped_attention, (2, 17, 6, 2, 7), 1.0),
    (grouped_attention, (1, 65, 3, 1, 16), 2.0),
    (product, (33, 19, 50), 1.0),
    (rms_norm, (1, 17), 1.0),
    (rms_norm, (70, 33), 3.0),
    (rope, (40, 4, 2, 8), 1.0),
    (swiglu, (9, 40), 6.0),
    (affine, (33, 19, 50), 1.0),
    (biased_logprobs, (19, 17, 101), 1.0),
    (biased_logprobs, (5, 9, 101), 15.0),
    (rope_of_neighbours, (40, 3, 10, 6), 1.0),
]


def some(t: torch.Tensor) -> list[tuple[int, float]]:
    flat = t.detach().flatten().tolist()
    return [(i, flat[i]) for i in range(0, len(flat), max(1, len(flat) // SAMPLES))]


def fixture(op, dims, amplitude):
    inputs = [wave(n, amplitude, i).requires_grad_() for i, n in enumerate(LENS[op](*dims))]
    output = op(inputs, *dims).flatten()
    (output * wave(len(output), 1.0, 0.5)).sum().backward()
    return {
        "op": op.__name__,
        "dims": dims,
        "amplitude": amplitude,
        "output": some(output),
        "gradients": [some(x.grad) for x in inputs],
    }


if __name__ == "__main__":
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps([fixture(*case) for case in CASES]) + "\n")
