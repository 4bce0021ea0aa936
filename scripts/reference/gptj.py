"""Writes crates/lm/tests/fixtures/gptj: tiny random GPT-Js as transformers saves them, and what transformers and PyTorch
compute with them.

As llama.py, whose tokenizer, cases and form they have: weights are f32 or bf16 in the files; everything in expected.json
is computed from them in f64 (but for attention scores, which GPT-J computes in f32 whatever its weights are), every
sequence alone and unpadded. All parameters are drawn from N(0, 0.2), norms and biases included, so that none of them can
be dropped or swapped unnoticed.
"""

import torch
from llama import FIXTURES, IDS, randomised, train_tokenizer, write
from transformers import GPTJConfig, GPTJForCausalLM

SIZE = dict(n_layer=2, n_positions=32)
# Half of each head is rotated; whole heads, an MLP of its own width, bf16, shards, and an embedding that is padded beyond
# the tokenizer.
MODELS = {
    "partial": dict(n_embd=32, n_head=2, rotary_dim=8),
    "whole-padded": dict(n_embd=24, n_head=3, rotary_dim=8, n_inner=40, layer_norm_epsilon=1e-3, vocab_size=304),
}


def main():
    torch.set_num_threads(1)
    tokenizer = train_tokenizer()
    for seed, (name, keys) in enumerate(MODELS.items()):
        model = randomised(GPTJForCausalLM(GPTJConfig(**IDS | SIZE | keys)), 20250 + seed)
        if name == "whole-padded":
            model = model.to(torch.bfloat16)
        write(FIXTURES.parent / "gptj" / name, model, tokenizer, "30KB" if name == "whole-padded" else None)


if __name__ == "__main__":
    main()
