"""Writes crates/lm/tests/fixtures/lora: adapters as PEFT saves them for the tiny models of gpt2.py, llama.py and gptj.py,
and what transformers and PyTorch compute with them.

    python lora.py

Both matrices of every adapter are drawn from N(0, 0.2), so that none of them can be dropped or swapped unnoticed. What
is in expected.json is computed in f64, every sequence alone and unpadded. The adapters name their bases from the folder of
the crate, in which its tests run.
"""

import json
import os
import pathlib

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

CRATE = pathlib.Path(__file__).resolve().parents[2] / "crates/lm"
FIXTURES = pathlib.Path("tests/fixtures")
# Some layers, by names that two of them share; all layers, scaled by the root of the rank; some, beside a scalar head.
ADAPTERS = {
    "gpt2": ("gpt2", dict(r=3, lora_alpha=6, target_modules=["c_attn", "c_proj"])),
    "llama": ("llama/grouped-untied", dict(r=2, lora_alpha=3, target_modules="all-linear", use_rslora=True)),
    "gpt2-score": ("gpt2", dict(r=2, lora_alpha=8, target_modules=["attn.c_proj", "c_fc"], lora_dropout=0.1)),
    "gptj": ("gptj/partial", dict(r=2, lora_alpha=3, target_modules="all-linear")),
}


def draw(model, seed: int):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(trained(model).items()):
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))


def trained(model) -> dict:
    return {name.replace(".default", ""): p for name, p in model.named_parameters() if p.requires_grad}


def response_logprobs(model, prompt, response, vocabulary):
    logits = model(torch.tensor([prompt + response])).logits[0, :, :vocabulary]
    predicted = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return predicted.gather(1, torch.tensor(response)[:, None])[:, 0]


def language_model(model, base: pathlib.Path, cases) -> dict:
    """Logits after the last token of every case, the SFT loss over all response tokens, and of every matrix the norm of
    its gradient and the gradient's product with cos(0), cos(1), ... in row-major order."""
    vocabulary = Tokenizer.from_file(str(base / "tokenizer.json")).get_vocab_size()
    with torch.no_grad():
        last = [model(torch.tensor([p + r])).logits[0, -1, :vocabulary].tolist() for p, r in cases]
    logprobs = [response_logprobs(model, *case, vocabulary) for case in cases]
    loss = -torch.cat(logprobs).mean()
    loss.backward()
    gradients = {}
    for name, parameter in trained(model).items():
        gradient = parameter.grad.flatten()
        probe = torch.arange(gradient.numel(), dtype=torch.float64).cos()
        gradients[name] = {"norm": gradient.norm().item(), "probe": (gradient @ probe).item()}
    return {
        "logits": last,
        "logprobs": [row.tolist() for row in logprobs],
        "loss": loss.item(),
        "gradients": gradients,
    }


def scalar_model(model, cases) -> dict:
    with torch.no_grad():
        return {"scores": [model(torch.tensor([p + r])).logits[0, 0].item() for p, r in cases]}


def write(name: str, seed: int):
    source, settings = ADAPTERS[name]
    base, folder = FIXTURES / source, FIXTURES / "lora" / name
    cases = json.loads((base / "expected.json").read_text())["cases"]
    cases = [(case["prompt"], case["response"]) for case in cases]
    score = name.endswith("score")
    family = AutoModelForSequenceClassification if score else AutoModelForCausalLM
    model = family.from_pretrained(base, dtype=torch.float32, **({"num_labels": 1} if score else {}))
    task = "SEQ_CLS" if score else "CAUSAL_LM"
    model = get_peft_model(model, LoraConfig(task_type=task, **settings)).eval()
    draw(model, seed)
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    # A set in PEFT, whose order is another one in every process.
    config = json.loads((folder / "adapter_config.json").read_text())
    for key in ["target_modules", "modules_to_save"]:
        config[key] = config[key] and sorted(config[key])
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    model = model.double()
    expected = scalar_model(model, cases) if score else language_model(model, base, cases)
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    os.chdir(CRATE)
    for seed, name in enumerate(ADAPTERS):
        write(name, seed)
