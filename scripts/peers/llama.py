"""Llama with Hugging Face's shapes, written for speed in PyTorch eager mode: the strong peer of the benchmarks.

Pre-norm blocks with root-mean-square norms, rotary positions in Hugging Face's layout, grouped-query attention by
`scaled_dot_product_attention`, a SwiGLU, the head tied to the token embedding, no dropout. Shapes: B sequences, T tokens,
D width, V vocabulary.
"""

import functools

import torch
import torch.nn.functional as F
from gpt2 import Cache, Shape
from torch import Tensor, nn

THETA = 100_000.0
EPSILON = 1e-5


class LlamaShape(Shape):
    """Blocks, width and vocabulary in the proportions of SmolLM2-135M: heads 64 wide, of which three share their keys and
    values, and a feed-forward part 8/3 as wide as the stream."""

    @property
    def heads(self) -> int:
        return self.width // 64

    @property
    def keys(self) -> int:
        return self.heads // 3

    @property
    def inner(self) -> int:
        return self.width * 8 // 3


@functools.cache
def turns(positions: int, head_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[positions, head_dim]`, both halves alike."""
    frequencies = THETA ** (-torch.arange(0, head_dim, 2, device=device) / head_dim)
    angles = torch.outer(torch.arange(positions, device=device), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates the halves of every head `[B, H, T, head_dim]` against each other."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


class Block(nn.Module):
    """Attention and the feed-forward part, each behind a norm and added to the stream."""

    def __init__(self, shape: LlamaShape, layer: int):
        super().__init__()
        width, head = shape.width, shape.width // shape.heads
        self.heads, self.keys, self.head, self.layer = shape.heads, shape.keys, head, layer
        self.norm_1, self.norm_2 = nn.RMSNorm(width, EPSILON), nn.RMSNorm(width, EPSILON)
        self.q, self.o = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k, self.v = (nn.Linear(width, shape.keys * head, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(width, shape.inner, bias=False) for _ in range(2))
        self.down = nn.Linear(shape.inner, width, bias=False)

    def attention(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None) -> Tensor:
        batch, time, _ = x.shape
        split = lambda part, heads: part.view(batch, time, heads, self.head).transpose(1, 2)
        query, key, value = split(self.q(x), self.heads), split(self.k(x), self.keys), split(self.v(x), self.keys)
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        if cache is not None:
            key, value = cache.extend(self.layer, key, value)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=time > 1, enable_gqa=True)
        return self.o(mixed.transpose(1, 2).reshape(batch, time, -1))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None = None) -> Tensor:
        x = x + self.attention(self.norm_1(x), cos, sin, cache)
        inner = self.norm_2(x)
        return x + self.down(F.silu(self.gate(inner)) * self.up(inner))


class Llama(nn.Module):
    """The language model without its head's product, which each case applies to the positions it needs."""

    def __init__(self, shape: LlamaShape, positions: int):
        super().__init__()
        self.embedding = nn.Embedding(shape.vocab, shape.width)
        self.blocks = nn.ModuleList(Block(shape, layer) for layer in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, EPSILON)
        self.positions, self.head = positions, shape.width // shape.heads
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Hidden states `[B, T, D]` of `ids` `[B, T]`, which follow what the cache holds."""
        start = cache.length if cache is not None else 0
        cos, sin = (part[start : start + ids.shape[1]] for part in turns(self.positions, self.head, ids.device))
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, cos, sin, cache)
        if cache is not None:
            cache.length += ids.shape[1]
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits over the vocabulary, by the tied head."""
        return F.linear(hidden, self.embedding.weight)
