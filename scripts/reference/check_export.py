"""Checks that transformers reads a folder written by lm::files and computes the same.

    python check_export.py FOLDER...

A folder of a language model or a scalar model holds, besides the model, logits.json: `sequences` (token ids), `logits`
(row-major, for every sequence) or `scores` (one for every sequence), and `texts` (with their ids). One of a classifier
holds classifier.json: texts, each with the ids that are read of it and the logits of its labels. The tests of the crate
lm leave such folders, target/tmp/export-*. One of an adapter holds the same as a model's, and PEFT reads it; the model that
it belongs to is read with it and not by itself. Exit code 1 if anything differs.
"""

import json
import pathlib
import sys

import torch
from peft import AutoPeftModelForCausalLM, AutoPeftModelForSequenceClassification, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, pipeline

TOLERANCE = 1e-4


def report(folder: pathlib.Path, model, worst: float, texts: int, problems: list[str]) -> bool:
    if not worst <= TOLERANCE:
        problems.append(f"logits differ by {worst}")
    print(f"{folder}: {type(model).__name__}, largest difference of a logit {worst:.2g}, {texts} texts")
    for problem in problems:
        print(f"{folder}: {problem}", file=sys.stderr)
    return not problems


def check_classifier(folder: pathlib.Path) -> bool:
    expected = json.loads((folder / "classifier.json").read_text())
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    problems = [f"{kind}: {keys}" for kind, keys in loading.items() if keys]
    worst = 0.0
    with torch.no_grad():
        for entry in expected:
            batch = tokenizer(entry["text"], truncation=True, return_tensors="pt")
            if batch["input_ids"][0].tolist() != entry["ids"]:
                problems.append(f"{entry['text']!r}: {batch['input_ids'][0].tolist()}, expected {entry['ids']}")
                continue
            worst = max(worst, (model(**batch).logits[0] - torch.tensor(entry["logits"])).abs().max().item())
    # The pipeline reads labels, problem type and window from the folder.
    options = {"model": str(folder), "tokenizer": tokenizer, "truncation": True, "top_k": None, "device": "cpu"}
    classify = pipeline("text-classification", **options)
    longest = max(expected, key=lambda entry: len(entry["ids"]))
    found = {answer["label"]: answer["score"] for answer in classify([longest["text"]])[0]}
    names = [model.config.id2label[index] for index in range(len(longest["logits"]))]
    for name, score in zip(names, torch.tensor(longest["logits"]).softmax(-1).tolist(), strict=True):
        worst = max(worst, abs(found[name] - score))
    return report(folder, model, worst, len(expected), problems)


def read_adapter(folder: pathlib.Path, scores: bool):
    """The model with its adapters, and the tensors that PEFT finds missing or has no place for."""
    family = AutoPeftModelForSequenceClassification if scores else AutoPeftModelForCausalLM
    model = family.from_pretrained(folder, dtype=torch.float32, **({"num_labels": 1} if scores else {}))
    written, read = load_file(folder / "adapter_model.safetensors"), get_peft_model_state_dict(model)
    loading = {"missing_keys": read.keys() - written.keys(), "unexpected_keys": written.keys() - read.keys()}
    loading["mismatched_keys"] = {
        key for key in written.keys() & read.keys() if not torch.equal(written[key], read[key])
    }
    return model, loading


def check_policy(folder: pathlib.Path) -> bool:
    expected = json.loads((folder / "logits.json").read_text())
    family = AutoModelForSequenceClassification if "scores" in expected else AutoModelForCausalLM
    if (folder / "adapter_config.json").exists():
        model, loading = read_adapter(folder, "scores" in expected)
    else:
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
    if set(tokenizer("a text")) != {"input_ids", "attention_mask"}:
        problems = [f"the tokenizer gives {list(tokenizer('a text'))}"]
    else:
        problems = []
    if family is AutoModelForCausalLM:
        prompt = torch.tensor([expected["sequences"][0]])
        written = model.generate(input_ids=prompt, max_new_tokens=4, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        assert written.shape[1] > prompt.shape[1]
    problems += [f"{kind}: {keys}" for kind, keys in loading.items() if keys]
    problems += [f"found {found!r}, expected {want!r}" for found, want in texts + decoded if found != want]
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    config = (model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id)
    if special != config:
        problems.append(f"special tokens: tokenizer {special}, config {config}")
    return report(folder, model, worst, len(texts), problems)


def check(folder: pathlib.Path) -> bool:
    return check_classifier(folder) if (folder / "classifier.json").exists() else check_policy(folder)


def base_of(adapter: pathlib.Path) -> pathlib.Path | None:
    """The folder of the model that an adapter belongs to."""
    config = adapter / "adapter_config.json"
    return pathlib.Path(json.loads(config.read_text())["base_model_name_or_path"]).resolve() if config.exists() else None


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folders = [pathlib.Path(folder) for folder in sys.argv[1:]]
    bases = {base_of(folder) for folder in folders}
    sys.exit(not all([check(folder) for folder in folders if folder.resolve() not in bases]))
