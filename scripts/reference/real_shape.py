"""Compares logits of real-shape checkpoints with random weights: every family in the size that people use, by this
project and by transformers, on one padded batch.

    cargo build --workspace --example logits
    python scripts/reference/real_shape.py target/debug/examples/logits > results/parity/real_shape.md

Each checkpoint is made from a seed in a temporary folder, one at a time; the largest takes 540 MB there and about 1.5
GB of memory. All parameters are random, biases and norms included. Both compute in f32 on the CPU. The difference of two
rows of logits is the largest one of its numbers, over the largest of transformers' logits in that row.
"""

import argparse
import datetime
import gc
import json
import pathlib
import platform
import subprocess
import tempfile

import numpy as np
import tokenizers
import torch
import transformers
from tokenizers import models, pre_tokenizers, processors

SEED = 20261128
# Tokens of the prompts and of the responses; with padding these are rows of 96.
LENGTHS = [(1, 95), (17, 40), (64, 8), (5, 1), (40, 24), (9, 60)]
TEXT_LENGTHS = [126, 1, 40, 7, 90, 63]
TOLERANCE = 1e-4

DECODERS = {
    "gpt2": transformers.GPT2Config(),
    "distilgpt2": transformers.GPT2Config(n_layer=6),
    "SmolLM2-135M": transformers.LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=8192, rope_theta=100000.0, rms_norm_eps=1e-5,
        tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=2,
    ),
}
ENCODERS = {
    "bert-base": transformers.BertConfig(),
    "roberta-base": transformers.RobertaConfig(
        vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5
    ),
    "distilbert-base": transformers.DistilBertConfig(),
    "all-MiniLM-L6-v2": transformers.BertConfig(
        hidden_size=384, intermediate_size=1536, num_hidden_layers=6, num_attention_heads=12
    ),
}


def randomised(model):
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = parameter.ndim == 1 and name.endswith("weight")
            parameter.copy_(float(norm) + 0.02 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def word_tokenizer(size, special, classifier):
    """A word for every id that the model embeds."""
    words = special | {f"w{i}": i for i in range(size) if i not in special.values()}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(words, unk_token=next(iter(special))))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(list(special))
    if classifier:
        around = [(token, special[token]) for token in ("[CLS]", "[SEP]")]
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    return tokenizer


def save(model, tokenizer, names, folder):
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(names))


def decoder(config, folder):
    kind = transformers.GPT2LMHeadModel if config.model_type == "gpt2" else transformers.LlamaForCausalLM
    model = randomised(kind(config))
    end = config.eos_token_id
    tokenizer = word_tokenizer(config.vocab_size, {"<|endoftext|>": end}, False)
    save(model, tokenizer, {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}, folder)
    rng = np.random.default_rng(SEED)
    ids = lambda count: [int(i) for i in rng.integers(3, config.vocab_size, size=count)]
    sequences = [{"prompt": [end] + ids(prompt - 1), "response": ids(response)} for prompt, response in LENGTHS]
    rows = [sequence["prompt"] + sequence["response"] for sequence in sequences]
    longest = max(map(len, rows))
    # Padding stands on the left here, as transformers wants it for generation.
    padded = torch.tensor([[end] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        logits = model(padded, attention_mask=mask, position_ids=places).logits
    want = [logits[i, -1 - len(each["response"]) : -1] for i, each in enumerate(sequences)]
    return sequences, torch.cat(want).numpy()


def encoder(config, folder):
    kinds = {
        "bert": transformers.BertForSequenceClassification,
        "roberta": transformers.RobertaForSequenceClassification,
        "distilbert": transformers.DistilBertForSequenceClassification,
    }
    model = randomised(kinds[config.model_type](config))
    pad = config.pad_token_id
    special = {"[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[PAD]": pad}
    tokenizer = word_tokenizer(config.vocab_size, special, True)
    longest = max(TEXT_LENGTHS) + 2
    save(model, tokenizer, {"pad_token": "[PAD]", "model_max_length": longest}, folder)
    rng = np.random.default_rng(SEED)
    words = lambda count: " ".join(f"w{i}" for i in rng.integers(200, config.vocab_size, size=count))
    texts = [words(count) for count in TEXT_LENGTHS]
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]")
    batch = fast(texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return texts, logits.numpy()


def compare(program, make, config):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        given, want = make(config, folder)
        gc.collect()
        (folder / "input.json").write_text(json.dumps(given))
        subprocess.run([program, folder, folder / "input.json", folder / "logits"], check=True)
        found = np.fromfile(folder / "logits", dtype=np.float32).reshape(want.shape)
        size = (folder / "model.safetensors").stat().st_size
    differences = np.abs(found - want).max(-1) / np.abs(want).max(-1)
    return size // 4, want.shape, float(differences.max()), float(np.median(differences))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", help="the built example `logits`")
    parser.add_argument("--only", nargs="*", help="names of the checkpoints to compare")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("# Logits of real-shape checkpoints with random weights\n")
    print("`scripts/reference/real_shape.py` wrote this: what is compared, and how, stands there.")
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {platform.machine()},", end=" ")
    print(f"f32 on the CPU, {datetime.date.today()}.\n")
    print("| checkpoint | family | parameters | rows of logits | largest relative difference | median |")
    print("|-|-|-:|-:|-:|-:|")
    worst = 0.0
    for configs, make in ((DECODERS, decoder), (ENCODERS, encoder)):
        for name, config in configs.items():
            if arguments.only and name not in arguments.only:
                continue
            parameters, shape, largest, median = compare(arguments.program, make, config)
            rows = f"{shape[0]:,} of {shape[1]:,}"
            cells = [name, config.model_type, f"{parameters / 1e6:.1f} M", rows, f"{largest:.1e}", f"{median:.1e}"]
            print("| " + " | ".join(cells) + " |", flush=True)
            worst = max(worst, largest)
    assert worst < TOLERANCE, f"{worst} is not below {TOLERANCE}"


if __name__ == "__main__":
    main()
