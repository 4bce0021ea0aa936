"""Writes crates/lm/tests/fixtures/llama: tiny random Llamas as transformers saves them, and what transformers and
PyTorch compute with them.

Weights are f32 or bf16 in the files; everything in expected.json is computed from them in f64, every sequence alone and
unpadded. All parameters are drawn from N(0, 0.2), norms included, so that none of them can be dropped or swapped
unnoticed.
"""

import json
import math
import pathlib

import torch
from gpt2 import CORPUS, TEXTS
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "crates/lm/tests/fixtures/llama"
SPECIAL = ["<pad>", "<s>", "</s>"]
VOCABULARY = 300
# Prompts and responses of unequal lengths; the last one fills the context of 32.
CASES = [
    ([1, 17, 203], [5, 299, 44, 2]),
    ([1], [260, 261]),
    ([1, 80, 81, 82, 83, 84, 85, 86], [120]),
    ([1, 2, 3], [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]),
    ([1] + list(range(100, 115)), list(range(270, 286))),
]
TEMPERATURES = [1.0, 0.7]
GREEDY = 12
IDS = dict(vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=2, pad_token_id=0)
SIZE = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, max_position_embeddings=32)
# Full attention and a tied head; grouped queries, an own head and shards; heads that are not d / heads wide, bf16, and
# an embedding that is padded beyond the tokenizer.
MODELS = {
    "full-tied": dict(num_attention_heads=3, tie_word_embeddings=True),
    "grouped-untied": dict(
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False, rope_theta=100000.0, rms_norm_eps=1e-5
    ),
    "wide-heads": dict(
        num_attention_heads=4, num_key_value_heads=1, head_dim=10, tie_word_embeddings=True, vocab_size=304
    ),
}


def train_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL],
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    assert tokenizer.get_vocab_size() == VOCABULARY
    pad, begin, end = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=begin, eos_token=end, pad_token=pad, model_max_length=32
    )


def randomised(model, seed: int):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def logits(model, ids):
    """Logits of every position over the tokenizer's ids."""
    return model(torch.tensor([ids])).logits[0, :, :VOCABULARY]


def response_logprobs(model, prompt, response, temperature):
    predicted = (logits(model, prompt + response) / temperature).log_softmax(-1)[len(prompt) - 1 : -1]
    return predicted.gather(1, torch.tensor(response)[:, None])[:, 0]


def sft(model, temperature):
    """Loss (mean over response tokens of all cases) and, for every parameter, the norm of its gradient and the
    gradient's product with cos(0), cos(1), ... in row-major order, which a permutation would change. Padded rows of the
    embedding have no gradient and are left out."""
    model.zero_grad()
    logprobs = [response_logprobs(model, *case, temperature) for case in CASES]
    loss = -torch.cat(logprobs).mean()
    loss.backward()
    gradients = {}
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        if gradient.shape[0] > VOCABULARY:
            assert not gradient[VOCABULARY:].any()
            gradient = gradient[:VOCABULARY]
        gradient = gradient.flatten()
        probe = torch.arange(gradient.numel(), dtype=torch.float64).cos()
        gradients[name] = {"norm": gradient.norm().item(), "probe": (gradient @ probe).item()}
    return {
        "temperature": temperature,
        "logprobs": [row.tolist() for row in logprobs],
        "loss": loss.item(),
        "grad_norm": math.sqrt(sum(g["norm"] ** 2 for g in gradients.values())),
        "gradients": gradients,
    }


def scalar_head(model):
    """A score head as in a family's ...ForSequenceClassification on the same body: the output at the last token of each
    sequence, and at the state before each response token."""
    weight = torch.randn(model.config.hidden_size, generator=torch.Generator().manual_seed(7)).float()
    scores, values = [], []
    with torch.no_grad():
        for prompt, response in CASES:
            hidden = model.base_model(torch.tensor([prompt + response])).last_hidden_state[0]
            outputs = hidden @ weight.double()
            scores.append(outputs[-1].item())
            values.append(outputs[len(prompt) - 1 : -1].tolist())
    return {"weight": weight.tolist(), "scores": scores, "values": values}


def greedy(model, prompt):
    """transformers' own greedy decoding with its cache, over the tokenizer's ids, never ending."""
    config = GenerationConfig(
        max_new_tokens=GREEDY,
        do_sample=False,
        suppress_tokens=list(range(VOCABULARY, model.config.vocab_size)) or None,
        pad_token_id=0,
    )
    model.generation_config.eos_token_id = None
    return model.generate(torch.tensor([prompt]), generation_config=config)[0, len(prompt) :].tolist()


def write(folder: pathlib.Path, model, tokenizer: PreTrainedTokenizerFast, shards: str | None = None):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder, **({"max_shard_size": shards} if shards else {}))
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)
    model = model.double()
    with torch.no_grad():
        last = [[float(f"{x:.8g}") for x in logits(model, p + r)[-1].tolist()] for p, r in CASES]
    expected = {
        "texts": [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False)} for text in TEXTS],
        "cases": [{"prompt": prompt, "response": response} for prompt, response in CASES],
        "logits": last,
        "greedy": [greedy(model, prompt) for prompt, _ in CASES],
        "sft": [sft(model, temperature) for temperature in TEMPERATURES],
        "scalar_head": scalar_head(model),
    }
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


def main():
    torch.set_num_threads(1)
    tokenizer = train_tokenizer()
    for seed, (name, keys) in enumerate(MODELS.items()):
        model = randomised(LlamaForCausalLM(LlamaConfig(**IDS | SIZE | keys)), 20240 + seed)
        if name == "wide-heads":
            model = model.to(torch.bfloat16)
        write(FIXTURES / name, model, tokenizer, "60KB" if name == "grouped-untied" else None)


if __name__ == "__main__":
    main()
