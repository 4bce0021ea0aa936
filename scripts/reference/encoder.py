"""Writes crates/lm/tests/fixtures/encoder: tiny random classifiers of the families BERT, RoBERTa and DistilBERT as
transformers saves them, and what transformers and PyTorch compute with them.

    python scripts/reference/encoder.py

Weights are f32 in the files; everything in expected.json is computed from them in f64. All parameters are random,
biases and layer norms included, so that none of them can be dropped or swapped unnoticed. The RoBERTa has vocab.json
and merges.txt and no tokenizer.json, the others the reverse.
"""

import copy
import json
import pathlib
import shutil

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaTokenizerFast,
)

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "crates/lm/tests/fixtures/encoder"
SEED = 20261127
CORPUS = [
    "The film opens with a long shot of the harbour, and the harbour never leaves the film.",
    "I did not expect to like this film, but the acting is warm and the ending is earned.",
    "The plot is thin, the jokes are old, and the ending is the same ending as the last film.",
    "A warm and funny story about a man who sells boats and a woman who does not want one.",
    "The acting was not good, the story was not good, and the music was the worst of all.",
]
TEXTS = [
    "The film was warm and funny.",
    "",
    "not the worst ending",
    "Zoë's naïve CAFÉ: 7/10 — \U0001f600\U0001f3ac!",
    "line one<br /><br />line two\n\n\tindented  twice \u00a0 and a\u200bzero width",
    "a text that spells [SEP], [CLS], </s> and <mask> is still a text",
    "映画 was 好き",
    "w" * 130 + " is one long word",
    "The harbour never leaves the film, and the music of the film never leaves the harbour. " * 6,
    "   ",
]
LABELS = [1, 0, 0, 1, 1, 0, 1, 0, 0, 1]
TRAINED = [0, 2, 3, 4, 6, 8]
SMALL = dict(num_labels=2, id2label={0: "NEGATIVE", 1: "POSITIVE"}, label2id={"NEGATIVE": 0, "POSITIVE": 1})
STEPS, WARMUP = 10, 2
OPTIMIZER = {
    "algorithm": {"name": "adamw", "beta1": 0.9, "beta2": 0.98, "epsilon": 1e-6, "weight_decay": 0.1},
    "learning_rate": 0.003,
    "schedule": {"warmup_steps": WARMUP, "decay": "linear", "floor": 0.0},
    "max_grad_norm": 1.0,
}


def wordpiece(lowercase: bool, longest) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=200, show_progress=False, special_tokens=special)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]"))],
    )
    names = {f"{key}_token": f"[{key.upper()}]" for key in ("pad", "unk", "cls", "sep", "mask")}
    options = {} if longest is None else {"model_max_length": longest}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, split_special_tokens=True, **names, **options)


def byte_level(folder: pathlib.Path) -> RobertaTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.model.save(str(folder))
    files = {"vocab_file": str(folder / "vocab.json"), "merges_file": str(folder / "merges.txt")}
    return RobertaTokenizerFast(**files, split_special_tokens=True)


def families():
    """Folder, model and a function that makes the tokenizer in the folder."""
    torch.manual_seed(SEED)
    bert = BertConfig(
        vocab_size=200, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=64, type_vocab_size=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        **SMALL,
    )
    roberta = RobertaConfig(
        vocab_size=300, hidden_size=20, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=50, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        layer_norm_eps=1e-5, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **SMALL,
    )
    distilbert = DistilBertConfig(
        vocab_size=200, dim=16, n_layers=3, n_heads=4, hidden_dim=48, max_position_embeddings=56, activation="relu",
        dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0, **SMALL,
    )
    yield "bert", BertForSequenceClassification(bert), lambda _: wordpiece(True, 40)
    yield "roberta", RobertaForSequenceClassification(roberta), byte_level
    yield "distilbert", DistilBertForSequenceClassification(distilbert), lambda _: wordpiece(False, None)


def randomise(model, generator):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = name.endswith("orm.weight")
            parameter.copy_(float(norm) + 0.2 * torch.randn(parameter.shape, generator=generator))


def alone(model, ids):
    """Logits of every text by itself, without padding, mask or segments."""
    with torch.no_grad():
        return [model(torch.tensor([row])).logits[0].tolist() for row in ids]


def padded(model, tokenizer, texts, longest):
    """Logits of all texts in one padded batch with its mask, as the pipelines of transformers compute them."""
    batch = tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
    with torch.no_grad():
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.tolist()


def train(model, ids):
    """Ten steps on all trained texts: what each step saw before its update, and some elements of the updates."""
    model = copy.deepcopy(model)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    algorithm = OPTIMIZER["algorithm"]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": algorithm["weight_decay"]},
            {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ],
        betas=(algorithm["beta1"], algorithm["beta2"]), eps=algorithm["epsilon"],
    )
    labels = torch.tensor([LABELS[i] for i in TRAINED])
    steps = []
    for step in range(STEPS):
        logits = torch.cat([model(torch.tensor([ids[i]])).logits for i in TRAINED])
        loss = torch.nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER["max_grad_norm"])
        warm, left = (step + 1) / (WARMUP + 1), 1 - (step - WARMUP) / (STEPS - WARMUP)
        rate = OPTIMIZER["learning_rate"] * (warm if step < WARMUP else left)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        accuracy = (logits.argmax(-1) == labels).double().mean().item()
        steps.append({"loss": loss.item(), "accuracy": accuracy, "grad_norm": norm.item(), "learning_rate": rate})
    updates = {}
    for name, parameter in model.named_parameters():
        flat = (parameter.detach() - before[name]).flatten().tolist()
        updates[name] = [(i, flat[i]) for i in range(0, len(flat), max(1, len(flat) // 12))]
    return {"steps": steps, "updates": updates, "logits": alone(model, ids)}


def write(name, model, make_tokenizer, generator):
    folder = FIXTURES / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    randomise(model, generator)
    model.eval()
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer = make_tokenizer(folder)
    if not (folder / "vocab.json").exists():
        tokenizer.save_pretrained(folder)
        (folder / "special_tokens_map.json").unlink()
    first = model.config.pad_token_id + 1 if name == "roberta" else 0
    longest = min(model.config.max_position_embeddings - first, tokenizer.model_max_length)
    ids = [tokenizer(text, truncation=True, max_length=longest)["input_ids"] for text in TEXTS]
    whole = [tokenizer(text)["input_ids"] for text in TEXTS]
    model = model.double()
    expected = {
        "longest": longest,
        "texts": [
            {"text": text, "whole": whole_ids, "ids": row} for text, whole_ids, row in zip(TEXTS, whole, ids)
        ],
        "logits": alone(model, ids),
        "padded": padded(model, tokenizer, TEXTS, longest),
        "trained": TRAINED,
        "labels": LABELS,
        "optimizer": OPTIMIZER,
        "training": train(model, ids),
    }
    if name == "bert":
        model.config.hidden_act = "gelu_new"
        other = BertForSequenceClassification(model.config).double().eval()
        other.load_state_dict(model.state_dict())
        expected["gelu_new"] = alone(other, ids)
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    weights = torch.Generator().manual_seed(SEED)
    for each in families():
        write(*each, weights)
