"""GPT-2 with Hugging Face's shapes, written for speed in PyTorch eager mode: the strong peer of the benchmarks.

Pre-layer-norm blocks, GELU by its tanh form, learned positions, the head tied to the token embedding, no dropout;
attention by `scaled_dot_product_attention`. Shapes: B sequences, T tokens, D width, V vocabulary.
"""

import re
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Blocks, width and vocabulary; a head is 32 wide, or 64 at the width of GPT-2 small."""

    layers: int
    width: int
    vocab: int

    @property
    def heads(self) -> int:
        return 12 if self.width == 768 else self.width // 32

    @property
    def keys(self) -> int:
        """Heads of keys and values."""
        return self.heads

    @classmethod
    def parse(cls, text: str) -> "Shape":
        """Reads `LxD/V`, for example 4x192/4096."""
        match = re.fullmatch(r"(\d+)x(\d+)/(\d+)", text)
        if match is None:
            raise SystemExit(f"found the shape `{text}`, expected LxD/V such as 4x192/4096")
        return cls(*map(int, match.groups()))


class Cache:
    """Keys and values of all tokens so far, in buffers of the final length."""

    def __init__(self, shape: Shape, batch: int, length: int, device: torch.device):
        size = (shape.layers, batch, shape.keys, length, shape.width // shape.heads)
        # In the type that autocast gives keys and values, so that they are not cast again for every token.
        kind = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32
        self.keys, self.values = (torch.empty(size, dtype=kind, device=device) for _ in range(2))
        self.length = 0

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Stores the new `[B, H, t, D / H]` and returns all so far; `length` moves on once all layers have done so."""
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


def attention(qkv: Tensor, heads: int, cache: Cache | None = None, layer: int = 0) -> Tensor:
    """Causal attention on packed queries, keys and values `[B, T, 3 D]`, giving `[B, T, D]`.

    With a cache, T is either the whole prompt (the cache is empty) or one token.
    """
    batch, time, _ = qkv.shape
    query, key, value = (
        part.view(batch, time, heads, -1).transpose(1, 2) for part in qkv.chunk(3, dim=-1)
    )
    if cache is not None:
        key, value = cache.extend(layer, key, value)
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=time > 1)
    return mixed.transpose(1, 2).reshape(batch, time, -1)


class Block(nn.Module):
    """Attention and the feed-forward part, each behind a layer norm and added to the stream."""

    def __init__(self, shape: Shape, layer: int):
        super().__init__()
        width = shape.width
        self.heads, self.layer = shape.heads, layer
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.attn_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c_fc, self.mlp_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        x = x + self.attn_proj(attention(self.c_attn(self.ln_1(x)), self.heads, cache, self.layer))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt2(nn.Module):
    """The language model without its head's product, which each case applies to the positions it needs."""

    def __init__(self, shape: Shape, positions: int):
        super().__init__()
        self.wte = nn.Embedding(shape.vocab, shape.width)
        self.wpe = nn.Embedding(positions, shape.width)
        self.blocks = nn.ModuleList(Block(shape, layer) for layer in range(shape.layers))
        self.ln_f = nn.LayerNorm(shape.width)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Hidden states `[B, T, D]` of `ids` `[B, T]`, which follow what the cache holds."""
        start = cache.length if cache is not None else 0
        x = self.wte(ids) + self.wpe.weight[start : start + ids.shape[1]]
        for block in self.blocks:
            x = block(x, cache)
        if cache is not None:
            cache.length += ids.shape[1]
        return self.ln_f(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits over the vocabulary, by the tied head."""
        return F.linear(hidden, self.wte.weight)


def draw(logits: Tensor) -> Tensor:
    """One token a row `[B, 1]`, drawn from the whole distribution `softmax(logits)`, logits `[B, V]`."""
    probabilities = logits.softmax(dim=-1)
    if not probabilities.is_cuda:
        return torch.multinomial(probabilities, 1)
    # What multinomial does as well, without its check of the probabilities, which waits for the device.
    return (probabilities / torch.empty_like(probabilities).exponential_()).argmax(dim=-1, keepdim=True)


@torch.inference_mode()
def sample(model: Gpt2, shape: Shape, prompts: Tensor, new: int) -> Tensor:
    """`new` tokens after each prompt `[B, P]`, drawn from the whole distribution; nothing stops early."""
    batch, prompt = prompts.shape
    cache = Cache(shape, batch, prompt + new, prompts.device)
    ids = torch.empty(batch, prompt + new, dtype=torch.long, device=prompts.device)
    ids[:, :prompt] = prompts
    step = prompts
    for position in range(prompt, prompt + new):
        step = draw(model.logits(model(step, cache)[:, -1]))
        ids[:, position : position + 1] = step
    return ids
