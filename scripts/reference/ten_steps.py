"""Writes experiments/tests/fixtures/ten_steps: ten optimiser steps of supervised fine-tuning, of a reward model and of
DPO in PyTorch, on a tiny GPT-2 and a tiny Llama of transformers.

    python scripts/reference/ten_steps.py

drawn.json there says what this project draws itself and PyTorch cannot know: the examples of every step and the head
that a new reward model starts from. The test `ten_steps` holds that our trainers draw just that and prints the right
file when they do not. Weights are f32 in the files; everything is computed from them in f64, every sequence alone and
unpadded. The files NAME.safetensors hold by how much ten steps moved every weight.
"""

import copy
import json
import pathlib

import torch
import torch.nn.functional as F
import transformers
from dpo import END, PAD, VOCAB, save_folder
from safetensors.torch import save_file

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "experiments/tests/fixtures/ten_steps"
SEED = 20261127
STEPS, CONTEXT, WIDTH = 10, 32, 16
BETA, LABEL_SMOOTHING = 0.3, 0.1
# The gradient of GPT-2's key biases is zero but for rounding, which AdamW divides by its own size: the epsilon has to be
# far above it.
OPTIMIZER = {
    "algorithm": {"name": "adamw", "beta1": 0.9, "beta2": 0.98, "epsilon": 1e-5, "weight_decay": 0.1},
    "learning_rate": 0.003,
    "schedule": {"warmup_steps": 3, "decay": "linear", "floor": 0.1},
}
# Each acts at some steps of a training and not at others.
MAX_GRAD_NORM = {"sft": 3.4, "reward-model": 1.2, "dpo": 0.7}


def families():
    ids = dict(vocab_size=VOCAB, bos_token_id=END, eos_token_id=END, pad_token_id=PAD, num_labels=1)
    gpt2 = transformers.GPT2Config(
        n_positions=CONTEXT, n_embd=WIDTH, n_layer=2, n_head=4, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0, **ids
    )
    llama = transformers.LlamaConfig(
        hidden_size=WIDTH, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=CONTEXT, tie_word_embeddings=False, **ids,
    )
    return {
        "gpt2": (gpt2, transformers.GPT2LMHeadModel, transformers.GPT2ForSequenceClassification),
        "llama": (llama, transformers.LlamaForCausalLM, transformers.LlamaForSequenceClassification),
    }


def randomised(model, generator):
    """All parameters random, biases and norms included, so that none of them can be dropped unnoticed."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = parameter.ndim == 1 and name.endswith("weight")
            parameter.copy_(float(norm) + 0.25 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def random_pairs(generator):
    """Pairs of ragged lengths, the first prompts with three pairs each; some labels are uncertain."""
    number = lambda low, high: int(torch.randint(low, high, (), generator=generator))
    ids = lambda low, high: [number(2, VOCAB) for _ in range(number(low, high))]
    end = lambda: [END] * number(0, 2)
    pairs = []
    for prompt in range(9):
        start = [END] + ids(0, 5)
        for _ in range(3 if prompt < 3 else 1):
            pair = {"prompt": start, "chosen": ids(1, 10) + end(), "rejected": ids(1, 10) + end()}
            pairs.append(pair | {"probability": 1.0 if number(0, 3) else 0.75})
    return pairs


def logprobs(model, prompt, response):
    """log pi(y_t | x, y_<t) of every token of a response."""
    predicted = model(torch.tensor([prompt + response])).logits[0].log_softmax(-1)[len(prompt) - 1 : -1]
    return predicted.gather(1, torch.tensor(response)[:, None])[:, 0]


def soft(pairs, loss_of_margin, margins):
    """The mean over pairs of the loss that both labels of each are expected to have."""
    probability = torch.tensor([pair["probability"] for pair in pairs], dtype=torch.float64)
    return (probability * loss_of_margin(margins) + (1 - probability) * loss_of_margin(-margins)).mean()


def sft_loss(model, pairs):
    return -torch.cat([logprobs(model, pair["prompt"], pair["chosen"]) for pair in pairs]).mean()


def reward_loss(model, pairs):
    score = lambda pair, side: model(torch.tensor([pair["prompt"] + pair[side]])).logits[0, 0]
    margins = torch.stack([score(pair, "chosen") - score(pair, "rejected") for pair in pairs])
    return soft(pairs, lambda margin: -F.logsigmoid(margin), margins)


def dpo_loss(reference):
    def loss(model, pairs):
        side = lambda which, name: torch.stack([logprobs(which, pair["prompt"], pair[name]).sum() for pair in pairs])
        with torch.no_grad():
            before = side(reference, "chosen") - side(reference, "rejected")
        margins = BETA * (side(model, "chosen") - side(model, "rejected") - before)
        right = lambda margin: -F.logsigmoid(margin)
        smoothed = lambda margin: (1 - LABEL_SMOOTHING) * right(margin) + LABEL_SMOOTHING * right(-margin)
        return soft(pairs, smoothed, margins)

    return loss


def optimizer_of(model):
    algorithm = OPTIMIZER["algorithm"]
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": algorithm["weight_decay"]},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(algorithm["beta1"], algorithm["beta2"]), eps=algorithm["epsilon"])


def learning_rate(step):
    warmup, floor = OPTIMIZER["schedule"]["warmup_steps"], OPTIMIZER["schedule"]["floor"]
    left = 1 - (step - warmup) / (STEPS - warmup)
    return OPTIMIZER["learning_rate"] * ((step + 1) / (warmup + 1) if step < warmup else floor + (1 - floor) * left)


def train(start, loss_of, batches, max_grad_norm):
    """What each step saw before its update, and the change of every parameter."""
    model = copy.deepcopy(start)
    optimizer = optimizer_of(model)
    steps = []
    for step, pairs in enumerate(batches):
        loss = loss_of(model, pairs)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.step()
        steps.append({"loss": loss.item(), "grad_norm": norm.item(), "learning_rate": learning_rate(step)})
    clipped = sum(step["grad_norm"] > max_grad_norm for step in steps)
    print([round(step["loss"], 4) for step in steps], [round(step["grad_norm"], 2) for step in steps])
    assert len(steps) == STEPS and 0 < clipped < STEPS, f"{clipped} steps are clipped"
    before = dict(start.named_parameters())
    changes = {name: (p.detach() - before[name].detach()).float() for name, p in model.named_parameters()}
    return steps, changes


def scalar_model(kind, config, policy, head):
    """The policy's body with a head of one score."""
    model = kind(config).double().eval()
    missing, _ = model.load_state_dict(policy.state_dict(), strict=False)
    assert missing == ["score.weight"], missing
    with torch.no_grad():
        model.score.weight.copy_(torch.tensor([head], dtype=torch.float64))
    return model


def main():
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(SEED)
    pairs = random_pairs(generator)
    drawn = json.loads((FIXTURES / "drawn.json").read_text())
    batches = {method: [[pairs[i] for i in step] for step in drawn[method]] for method in MAX_GRAD_NORM}
    expected = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "pairs": pairs,
        "optimizer": {method: OPTIMIZER | {"max_grad_norm": norm} for method, norm in MAX_GRAD_NORM.items()},
        "dpo": {"beta": BETA, "label_smoothing": LABEL_SMOOTHING},
        "steps": {},
    }
    for family, (config, language_model, classifier) in families().items():
        policy = randomised(language_model(config), generator)
        (FIXTURES / family).mkdir(exist_ok=True)
        save_folder(policy, FIXTURES / family)
        policy = policy.double()
        starts = {
            "sft": (policy, sft_loss),
            "reward-model": (scalar_model(classifier, config, policy, drawn["head"]), reward_loss),
            "dpo": (policy, dpo_loss(policy)),
        }
        for method, (start, loss_of) in starts.items():
            steps, changes = train(start, loss_of, batches[method], MAX_GRAD_NORM[method])
            expected["steps"][f"{family}-{method}"] = steps
            save_file(changes, FIXTURES / f"{family}-{method}.safetensors")
            (FIXTURES / f"{family}-{method}.safetensors").chmod(0o644)
    (FIXTURES / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
