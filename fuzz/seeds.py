"""Writes models/ and seeds/: tiny models of every family, and a few files for each target to begin with.

    python fuzz/seeds.py

Needs torch and transformers as scripts/reference does. Everything is random from a fixed seed.
"""

import hashlib
import io
import json
import pathlib
import shutil
import struct
import sys
import tarfile
import tempfile
import zipfile

import numpy as np
import tokenizers
import torch
import transformers
from safetensors.numpy import save as save_tensors
from tokenizers import models, pre_tokenizers, processors

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
WIDTH, WORDS = 4, 8


def words(special, around=None):
    names = special + [f"w{i}" for i in range(len(special), WORDS)]
    tokenizer = tokenizers.Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=names[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(special)
    if around:
        ids = [(name, names.index(name)) for name in around]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{around[0]} $A {around[1]}", special_tokens=ids)
    return tokenizer


def families():
    size = dict(vocab_size=WORDS, pad_token_id=1)
    decoder = dict(bos_token_id=0, eos_token_id=0)
    encoder = dict(num_hidden_layers=1, num_attention_heads=2, hidden_size=WIDTH, intermediate_size=6)
    places = dict(max_position_embeddings=12)
    return {
        "gpt2": transformers.GPT2LMHeadModel(
            transformers.GPT2Config(n_positions=12, n_embd=WIDTH, n_layer=1, n_head=2, **size, **decoder)
        ),
        "llama": transformers.LlamaForCausalLM(
            transformers.LlamaConfig(num_key_value_heads=1, tie_word_embeddings=False, **places, **encoder, **size, **decoder)
        ),
        "gptj": transformers.GPTJForCausalLM(
            transformers.GPTJConfig(n_positions=12, n_embd=WIDTH, n_layer=1, n_head=2, rotary_dim=2, **size, **decoder)
        ),
        "bert": transformers.BertForSequenceClassification(transformers.BertConfig(**places, **encoder, **size)),
        "roberta": transformers.RobertaForSequenceClassification(transformers.RobertaConfig(**places, **encoder, **size)),
        "distilbert": transformers.DistilBertForSequenceClassification(
            transformers.DistilBertConfig(dim=WIDTH, hidden_dim=6, n_layers=1, n_heads=2, **places, **size)
        ),
    }


def write_models():
    for name, model in families().items():
        folder = HERE / "models" / name
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        decoder = name in ("gpt2", "gptj", "llama")
        special = ["<|endoftext|>", "<|pad|>"] if decoder else ["[CLS]", "[PAD]", "[SEP]"]
        words(special, None if decoder else ["[CLS]", "[SEP]"]).save(str(folder / "tokenizer.json"))
        about = {"bos_token": special[0], "eos_token": special[0], "pad_token": special[1], "model_max_length": 8}
        (folder / "tokenizer_config.json").write_text(json.dumps(about))
        (folder / "model.safetensors").chmod(0o644)
    llama = HERE / "models/llama"
    (llama / "chat_template.jinja").write_text("{% for m in messages %}{{ m.role }} {{ m.content }}{% endfor %}")
    sharded = HERE / "models/sharded"
    shutil.rmtree(sharded, ignore_errors=True)
    model = transformers.LlamaForCausalLM.from_pretrained(llama)
    model.save_pretrained(sharded, max_shard_size=600)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(llama / name, sharded / name)
    pairs = HERE / "models/words"
    shutil.rmtree(pairs, ignore_errors=True)
    pairs.mkdir()
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "w", "3", "w3", ",", "\u0120"]
    (pairs / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (pairs / "merges.txt").write_text("#version: 0.2\nw 3\n")


def write_adapter():
    """Rank 1 on the first matrix of the GPT-2, as PEFT writes it."""
    folder = HERE / "models/adapter"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    about = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 1, "lora_alpha": 2, "lora_dropout": 0.0, "bias": "none",
        "target_modules": ["c_attn"], "fan_in_fan_out": True, "use_rslora": False, "use_dora": False,
        "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": None, "base_model_name_or_path": "gpt2",
    }
    (folder / "adapter_config.json").write_text(json.dumps(about))
    name, rng = "base_model.model.transformer.h.0.attn.c_attn.lora_", np.random.default_rng(2)
    shapes = {f"{name}A.weight": (1, WIDTH), f"{name}B.weight": (3 * WIDTH, 1)}
    tensors = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    (folder / "adapter_model.safetensors").write_bytes(save_tensors(tensors, {"format": "pt"}))


def gguf(types):
    """A Llama of one layer; `types` are the numbers of the types of its matrices in turn."""
    d, text = 32, lambda value: struct.pack("<Q", len(value.encode())) + value.encode()
    rng = np.random.default_rng(1)
    values = {
        "general.architecture": "llama", "llama.block_count": 1, "llama.context_length": 16,
        "llama.embedding_length": d, "llama.feed_forward_length": d, "llama.attention.head_count": 2,
        "llama.attention.head_count_kv": 1, "llama.rope.dimension_count": 16, "llama.rope.freq_base": 10000.0,
        "llama.attention.layer_norm_rms_epsilon": 1e-5, "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": ["<s>", "</s>", "a", "b", "ab", "c"], "tokenizer.ggml.token_type": [3, 3, 1, 1, 1, 1],
        "tokenizer.ggml.merges": ["a b"], "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 1,
    }

    def value(it):
        if isinstance(it, str):
            return struct.pack("<I", 8) + text(it)
        if isinstance(it, float):
            return struct.pack("<If", 6, it)
        if isinstance(it, int):
            return struct.pack("<II", 4, it)
        inner = 8 if isinstance(it[0], str) else 5
        items = b"".join(text(x) if inner == 8 else struct.pack("<i", x) for x in it)
        return struct.pack("<IIQ", 9, inner, len(it)) + items

    layer = {"attn_q": (d, d), "attn_k": (d, 16), "attn_v": (d, 16), "attn_output": (d, d), "ffn_gate": (d, d),
             "ffn_up": (d, d), "ffn_down": (d, d), "attn_norm": (d,), "ffn_norm": (d,)}
    shapes = {"token_embd.weight": (d, 6), "output_norm.weight": (d,)}
    shapes |= {f"blk.0.{name}.weight": shape for name, shape in layer.items()}
    bytes_of = {0: (1, 4), 1: (1, 2), 8: (32, 34), 2: (32, 18), 3: (32, 20)}
    header = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(values))
    header += b"".join(text(key) + value(it) for key, it in values.items())
    data = b""
    for i, (name, shape) in enumerate(shapes.items()):
        kind = types[i % len(types)] if len(shape) == 2 else 0
        block, size = bytes_of[kind]
        data += bytes(-len(data) % 32)
        header += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
        data += rng.integers(0, 60, size=int(np.prod(shape)) // block * size, dtype=np.uint8).tobytes()
    return header + bytes(-len(header) % 32) + data


def archives():
    reviews = {f"aclImdb/{split}/{side}/{i}_{9 if side == 'pos' else 2}.txt": f"a {side} film<br />{i} &amp; more"
               for split in ("train", "test") for side in ("pos", "neg") for i in range(2)}
    packed = {}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, body in reviews.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body.encode()))
    packed["tar"] = b"\0" + buffer.getvalue()
    for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for path, body in reviews.items():
                archive.writestr(zipfile.ZipInfo(path), body, method)
        packed[name] = b"\1" + buffer.getvalue()
    packed["csv"] = b'\1review,sentiment\n"good, ""very"" good",positive\nbad,negative\n'
    return packed


def records():
    chat = lambda *turns: [{"role": role, "content": content} for role, content in turns]
    lines = {
        "explicit": (0, [{"prompt": "w3", "chosen": "w4", "rejected": "w5", "probability": 0.8}]),
        "implicit": (0, [{"chosen": chat(("user", "w3"), ("assistant", "w4")), "rejected": chat(("user", "w3"), ("assistant", "w5"))}]),
        "scores": (1, [{"prompt": "w3", "chosen": "w4", "rejected": "w5", "score_chosen": 1.5, "score_rejected": 0}]),
        "prompts": (2, [{"prompt": "w3 w4"}, {"prompt": chat(("system", "w5"), ("user", "w3"))}]),
        "supervised": (11, [{"text": "w3 w4"}, {"prompt": "w3", "completion": "w4"}, {"messages": chat(("user", "w3"), ("assistant", "w4"))}]),
        "responses": (4, [{"prompt": "w3", "response": "w4", "ended": False}]),
        "comparisons": (5, [{"split": "train", "prompt_index": 0, "prompt": [0], "responses": [[1], [2]], "scores": [1, 0.5], "pairs": [[0, 1, 1.0]]}]),
    }
    return {name: bytes([which]) + b"".join(json.dumps(x).encode() + b"\n" for x in all) for name, (which, all) in lines.items()}


def tldr():
    post = {"id": "t3_1", "post": "I lost it.", "title": "Lost", "subreddit": "help"}
    summaries = [{"text": text, "policy": "p", "note": None} for text in ("a", "b")]
    comparison = {"info": post, "split": "train", "summaries": summaries, "choice": 1, "worker": "w", "batch": "b", "extra": {}}
    lines = {"posts": (0, post | {"summary": "Lost it."}), "comparisons": (1, comparison)}
    return {name: bytes([which]) + json.dumps(line).encode() + b"\n" for name, (which, line) in lines.items()}


SETTINGS = """description = "words"
sweep = [0.5, 1, 2.0]

[sft]
steps = 10
batch_size = 4

[sft.optimizer]
algorithm = { name = "adamw", beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.0 }
learning_rate = 1e-3
schedule = { warmup_steps = 2, decay = "linear", floor = 0.0 }
max_grad_norm = 1.0

[limits]
max_length = 8
max_prompt_length = 4
too_long = "skip"
"""


def study():
    """Two runs of two evaluations on four prompts, and the tables of one kind each."""
    columns = ("method knob value seed step tokens score score_se judge judge_se sequence_kl sequence_kl_se k1 k1_se "
               "length length_se learned distinct_2 pair_accuracy").split()
    ends = {("dpo-1", "dpo", "beta"): (0.7, 0.9), ("ppo-1", "ppo", "target_kl"): (0.6, 1.1)}
    runs, prompts, metrics = [["run", *columns]], [["column", "step", "run", 0, 1, 2, 3]], [["run", "column", "values"]]
    for (run, method, knob), (score, kl) in ends.items():
        for step, at in ((0, (0.5, 0.0)), (5, (score, kl))):
            runs.append([run, method, knob, 0.5, 1, step, 100 * step, at[0], 0.01, 0.5, 0.01, at[1], 0.02, at[1], 0.02, 8, 0, 0, 0.8, 0.5])
            prompts += [[column, step, run, *(round(mean + shift, 2) for shift in (-0.1, 0, 0, 0.1))] for column, mean in zip(("score", "sequence_kl"), at)]
        metrics += [[run, "step", "1 2 3 4 5"], [run, "seconds", "1 2 3 4 5"], [run, "num_tokens", "100 200 300 400 500"]]
    tables = {
        "runs": runs, "prompts": prompts, "metrics": metrics,
        "scores": [["prompt", 0, 1, 2], [0, 0.2, 0.4, 0.6], [1, 0.1, 0.5, 0.9], [2, 0.3, 0.5, 0.7], [3, 0.6, 0.7, 0.5]],
        "evals": [columns] + [row[1:] for row in runs[1:3]],
        "run_prompts": [["step", "prompt", "score", "sequence_kl"], [0, 0, 0.4, 0], [0, 1, 0.5, 0], [5, 0, 0.7, 0.9], [5, 1, 0.6, 0.8]],
        "reference_scores": [["prompt", "sample", "score"], [0, 0, 0.1], [0, 1, 0.2], [1, 0, 0.3], [1, 1, 0.4]],
        "run_metrics": [["step", "seconds", "loss"], [1, 0.5, 0.69], [2, 1.0, "NaN"]],
        "judgements": [["judge", "method", "seed", "temperature", "prompt", "shown", "outcome"], ["j", "dpo", 1, 0.7, 0, "first", "win"]],
        "temperatures": ["method seed temperature score score_se second_opinion sequence_kl sequence_kl_se length distinct_2".split(),
                         ["dpo", 1, 0.7, 0.6, 0.01, 0.5, 1.5, 0.1, 8, 0.8]],
        "ablations": [("variation suspect method kl covered seeds reward reward_low reward_high share share_low share_high difference "
                       "difference_low difference_high").split(), ["v", "s", "dpo", 2, "true", 1, *[0.5] * 9]],
        "responses": ["method responses passes seed share share_se kl pair_accuracy".split(), ["dpo", 1024, 1, 1, 0.5, 0.1, 1.5, "NaN"]],
    }
    lines = lambda rows: "".join(",".join(map(str, row)) + "\n" for row in rows).encode()
    return {name: bytes([which]) + lines(rows) for which, (name, rows) in enumerate(tables.items())}


def answers():
    """What the target's judge would ask, answered: keys in either order in which a body may be written."""
    task = "Which of these two summaries of a forum post tells its main points better?"
    last = ("Say in one sentence why. Then write a last line that says \"Preferred: A\", \"Preferred: B\" or, if neither is better, "
            "\"Preferred: neither\".")
    message = {"role": "user", "content": f"{task}\n\nPost:\np\n\nSummary A:\na\n\nSummary B:\nb\n\n{last}"}
    body = {"model": "m", "messages": [message], "temperature": 0, "max_tokens": 8}
    key = lambda text: hashlib.sha256(struct.pack("<Q", 1) + b"m" + text.encode()).hexdigest()
    keys = [key(json.dumps(body, separators=(",", ":"), sort_keys=order)) for order in (False, True)]
    kept = "".join(json.dumps({"key": key, "text": "Short.\nPreferred: B", "tokens": [7, 4]}) + "\n" for key in keys)
    reply = json.dumps({"choices": [{"message": {"content": "Preferred: A"}}], "usage": {"prompt_tokens": 7, "completion_tokens": 4}})
    curl = f"HTTP/1.1 200 OK\r\nRetry-After: 2\r\n\r\n{reply}\n\x01status 200"
    texts = {"score": '{"score": 0.5}', "preference": '{"preferred": "first"}', "reply": curl, "kept": kept}
    return {name: bytes([which]) + text.encode() for which, (name, text) in enumerate(texts.items())}


def write_seeds():
    models_ = HERE / "models"
    read = lambda path: (models_ / path).read_bytes()
    pick = lambda which, content: bytes([which]) + content
    floats = lambda *values: np.array(values, dtype=np.float32)
    classifier = {"keys": np.array([3, 9], dtype=np.uint32), "weights": np.array([1, -1], dtype=np.float16),
                  "bias": floats(0.5), "calibration": floats(1, 0, 0, 1, 300)}
    about = {"format": "imdb sentiment classifier 1, word_bigrams"}
    weights = {name: value.numpy() for name, value in families()["gpt2"].state_dict().items() if name != "lm_head.weight"}
    state = {"policy/" + name.removeprefix("transformer."): value for name, value in weights.items()}
    counters = {"format": "1", "trainer": "sft", "step": "0", "tokens": "0", "optimizer/step": "0",
                "optimizer/algorithm": "adamw", "epochs/examples": "3", "epochs/epoch": "0", "epochs/cursor": "0"}
    templates = json.loads((ROOT / "crates/feedback/tests/fixtures/chat_templates.json").read_text())
    found = []
    walk = lambda it: found.append(it) if isinstance(it, str) and "{%" in it else [walk(x) for x in (it.values() if isinstance(it, dict) else it if isinstance(it, list) else [])]
    walk(templates)
    seeds = {
        "gguf": {"f32": gguf([0]), "mixed": gguf([8, 1, 2, 3])},
        "safetensors": {"llama": read("llama/model.safetensors")},
        "shards": {"llama": read("sharded/model.safetensors.index.json")},
        "decoder_config": {name: read(f"{name}/config.json") for name in ("gpt2", "llama", "gptj")},
        "encoder_config": {name: read(f"{name}/config.json") for name in ("bert", "roberta", "distilbert")},
        "tokenizer": {
            "gpt2": pick(0, read("gpt2/tokenizer.json")),
            "bpe": pick(1, (ROOT / "crates/lm/tests/fixtures/gpt2/tokenizer.json").read_bytes()),
            "config": pick(2, read("llama/tokenizer_config.json")), "generation": pick(3, b'{"eos_token_id": [0, 2]}'),
            "template": pick(4, read("llama/chat_template.jinja")), "bert": pick(5, read("bert/tokenizer.json")),
            "vocab": pick(6, read("words/vocab.json")), "merges": pick(7, read("words/merges.txt")),
        },
        "records": records(),
        "chat_template": {str(i): text.encode() for i, text in enumerate(found)},
        "reviews": archives(),
        "state": {"sft": save_tensors(state, {"training_state": json.dumps(counters)})},
        "adapter": {
            "config": pick(0, read("adapter/adapter_config.json")),
            "weights": pick(1, read("adapter/adapter_model.safetensors")),
        },
        "tldr": tldr(),
        "settings": {"whole": SETTINGS.encode(), "set": b"#set sft.optimizer.schedule.floor=0.5\n" + SETTINGS.encode()},
        "study": study(),
        "answers": answers(),
        "linear_classifier": {"small": save_tensors(classifier, about)},
    }
    shutil.rmtree(HERE / "seeds", ignore_errors=True)
    for target, files in seeds.items():
        (HERE / "seeds" / target).mkdir(parents=True)
        for name, content in files.items():
            (HERE / "seeds" / target / name).write_bytes(content)


if __name__ == "__main__":
    torch.manual_seed(1)
    write_models()
    write_adapter()
    write_seeds()
