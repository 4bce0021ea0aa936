"""Checks that transformers reads a folder written by lm::files and computes the same.

    python check_export.py FOLDER...

Each folder holds, besides the model, logits.json: `sequences` (token ids), `logits` (row-major, for every sequence) of
a language model or `scores` (one for every sequence) of a scalar model, and `texts` (with their ids). The tests of the
crate lm leave such folders, target/tmp/export-*. Exit code 1 if anything differs.
"""

import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

TOLERANCE = 1e-4


def check(folder: pathlib.Path) -> bool:
    expected = json.loads((folder / "logits.json").read_text())
    family = AutoModelForSequenceClassification if "scores" in expected else AutoModelForCausalLM
    model, loading = family.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    worst = 0.0
    with torch.no_grad():
        for ids, ours in zip(expected["sequences"], expected.get("logits") or expected["scores"], strict=True):
            theirs = model(torch.tensor([ids])).logits[0]
            worst = max(worst, (theirs - torch.tensor(ours).reshape(theirs.shape)).abs().max().item())
    texts = [
        (tokenizer.encode(entry["text"], add_special_tokens=False), entry["ids"]) for entry in expected["texts"]
    ]
    decoded = [
        (tokenizer.decode(entry["ids"], clean_up_tokenization_spaces=False), entry["text"])
        for entry in expected["texts"]
    ]
    if family is AutoModelForCausalLM:
        prompt = torch.tensor([expected["sequences"][0]])
        written = model.generate(prompt, max_new_tokens=4, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        assert written.shape[1] > prompt.shape[1]
    problems = [f"{kind}: {keys}" for kind, keys in loading.items() if keys]
    problems += [f"found {found!r}, expected {want!r}" for found, want in texts + decoded if found != want]
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    config = (model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id)
    if special != config:
        problems.append(f"special tokens: tokenizer {special}, config {config}")
    if not worst <= TOLERANCE:
        problems.append(f"logits differ by {worst}")
    print(f"{folder}: {type(model).__name__}, largest difference of a logit {worst:.2g}, {len(texts)} texts")
    for problem in problems:
        print(f"{folder}: {problem}", file=sys.stderr)
    return not problems


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(not all([check(pathlib.Path(folder)) for folder in sys.argv[1:]]))
