"""Writes crates/lm/tests/fixtures/gpt2: a tiny random GPT-2 as transformers saves it, and what
transformers and PyTorch compute with it.

Weights are f32 in the file; everything in expected.json is computed from them in f64, every sequence alone and
unpadded. All parameters are drawn from N(0, 0.2), biases and layer norms included, so that none of them can be
dropped or swapped unnoticed.
"""

import json
import math
import pathlib

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel

FIXTURE = pathlib.Path(__file__).resolve().parents[2] / "crates/lm/tests/fixtures/gpt2"
END, PAD = "<|endoftext|>", "<|pad|>"
CORPUS = [
    "The film opens with a long shot of the harbour, and the harbour never leaves the film.",
    "I did not expect to like this film, but the acting is warm and the ending is earned.",
    "The plot is thin, the jokes are old, and the ending is the same ending as the last film.",
    "A warm and funny story about a man who sells boats and a woman who does not want one.",
    "The acting was not good, the story was not good, and the music was the worst of all.",
]
TEXTS = [
    "The film was warm and funny.",
    "not the worst ending, but not good",
    "Zoë's naïve café: 7/10 — \U0001f600\U0001f3ac!",
    "line one\nline two\n\n\tindented  twice ",
    "",
]
# Prompts and responses of unequal lengths; the last one fills the context of 32.
CASES = [
    ([0, 17, 203], [5, 299, 44, 0]),
    ([0], [260, 261]),
    ([0, 80, 81, 82, 83, 84, 85, 86], [120]),
    ([0, 2, 3], [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]),
    ([0] + list(range(100, 115)), list(range(270, 286))),
]
TEMPERATURES = [1.0, 0.7]


def train_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(END, special=True), AddedToken(PAD, special=True)],
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    assert tokenizer.get_vocab_size() == 300
    return tokenizer


def random_model() -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=300, n_positions=32, n_embd=24, n_layer=2, n_head=3, bos_token_id=0, eos_token_id=0,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )
    model = GPT2LMHeadModel(config)
    generator = torch.Generator().manual_seed(20231)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def response_logprobs(model, prompt, response, temperature):
    logits = model(torch.tensor([prompt + response])).logits[0] / temperature
    predicted = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return predicted.gather(1, torch.tensor(response)[:, None])[:, 0]


def sft(model, temperature):
    """Loss (mean over response tokens of all cases) and, for every parameter, the norm of its gradient and the
    gradient's product with cos(0), cos(1), ... in row-major order, which a permutation would change."""
    model.zero_grad()
    logprobs = [response_logprobs(model, *case, temperature) for case in CASES]
    loss = -torch.cat(logprobs).mean()
    loss.backward()
    gradients = {}
    for name, parameter in model.transformer.named_parameters():
        gradient = parameter.grad.flatten()
        probe = torch.arange(gradient.numel(), dtype=torch.float64).cos()
        gradients[name] = {"norm": gradient.norm().item(), "probe": (gradient @ probe).item()}
    return {
        "temperature": temperature,
        "logprobs": [row.tolist() for row in logprobs],
        "loss": loss.item(),
        "grad_norm": math.sqrt(sum(g["norm"] ** 2 for g in gradients.values())),
        "gradients": gradients,
    }


def exact_gelu_logits(model):
    """Logits after the last token of every case, by the same weights with exact GELUs."""
    exact = GPT2LMHeadModel(GPT2Config(**(model.config.to_dict() | {"activation_function": "gelu"}))).double().eval()
    exact.load_state_dict(model.state_dict())
    with torch.no_grad():
        last = [exact(torch.tensor([prompt + response])).logits[0, -1].tolist() for prompt, response in CASES]
    return [[float(f"{x:.8g}") for x in row] for row in last]


def scalar_head(model):
    """A score head as in GPT2ForSequenceClassification on the same body: the output at the last token of each
    sequence, and at the state before each response token."""
    weight = torch.randn(24, generator=torch.Generator().manual_seed(7)).float()
    scores, values = [], []
    with torch.no_grad():
        for prompt, response in CASES:
            hidden = model.transformer(torch.tensor([prompt + response])).last_hidden_state[0]
            outputs = hidden @ weight.double()
            scores.append(outputs[-1].item())
            values.append(outputs[len(prompt) - 1 : -1].tolist())
    return {"weight": weight.tolist(), "scores": scores, "values": values}


def main():
    torch.set_num_threads(1)
    FIXTURE.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    tokenizer.save(str(FIXTURE / "tokenizer.json"))
    model = random_model()
    model.save_pretrained(FIXTURE)
    (FIXTURE / "generation_config.json").unlink(missing_ok=True)
    (FIXTURE / "model.safetensors").chmod(0o644)
    model = model.double()
    expected = {
        "texts": [{"text": text, "ids": tokenizer.encode(text).ids} for text in TEXTS],
        "cases": [{"prompt": prompt, "response": response} for prompt, response in CASES],
        "sft": [sft(model, temperature) for temperature in TEMPERATURES],
        "scalar_head": scalar_head(model),
        "exact_gelu_logits": exact_gelu_logits(model),
    }
    (FIXTURE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
