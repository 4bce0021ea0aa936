"""One measurement of one case in PyTorch on the CPU, in fp32, printed as one line of JSON.

    python bench_torch.py CASE key=value ...

    train          shape context batch           one step of supervised fine-tuning: forward, backward, clip, AdamW
    dpo            shape pairs prompt response   one step of DPO: forward, backward, clip, RMSprop
    score          shape context batch           log-probs of all next tokens, without gradients
    sample         shape batch prompt new        a sampling loop with a preallocated cache
    sample_hf      shape batch prompt new        GPT2LMHeadModel.generate of transformers
    gemm           m n k                         x w + b, forward only
    linear         rows inputs outputs           from here on forward and backward
    attention      batch time heads head_dim
    layer_norm     rows d
    gelu           rows d
    target_logprobs rows d vocab                 the head's product and the cross-entropy
    adamw          params                        clip and one fused step
    rmsprop        params

Every case also takes `threads`, `budget` (seconds of timed steps, 6 by default) and `compile=1` (torch.compile).
`jobs` and keys it does not know are echoed only.
"""

import functools
import os
import sys
from collections.abc import Callable

import gpt2
import protocol
import torch
import torch.nn.functional as F
from gpt2 import Gpt2, Shape
from torch import Tensor

Step = Callable[[], object]


class Case(dict):
    """The keys of a case. A missing one ends the program with its name."""

    def __missing__(self, key: str):
        raise SystemExit(f"the key `{key}` is missing")

    @property
    def shape(self) -> Shape:
        return Shape.parse(self["shape"])

    def compiled(self, function: Callable) -> Callable:
        """The function or module itself, or by torch.compile if the case says so."""
        return torch.compile(function) if self.get("compile") else function


def descend(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer, max_norm: float) -> Step:
    """A training step: gradients of `loss`, clipped to a global norm, and one step of the optimiser."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        torch.nn.utils.clip_grad_norm_(parameters, max_norm, foreach=True)
        optimizer.step()

    return step


def adamw(parameters) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True)


def rmsprop(parameters) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(parameters, lr=1e-6, alpha=0.99, eps=1e-8, foreach=True)


def train(case: Case) -> tuple[int, Step]:
    shape, context, batch = case.shape, case["context"], case["batch"]
    model = Gpt2(shape, context)
    ids = torch.randint(1, shape.vocab, (batch, context + 1))

    @case.compiled
    def loss() -> Tensor:
        logits = model.logits(model(ids[:, :-1]))
        return F.cross_entropy(logits.view(-1, shape.vocab), ids[:, 1:].reshape(-1))

    return batch * context, descend(loss, adamw(model.parameters()), 1.0)


def dpo(case: Case) -> tuple[int, Step]:
    """Chosen sequences, then rejected ones, all of one length; logits only where a response token is predicted."""
    shape, pairs, prompt, response = case.shape, case["pairs"], case["prompt"], case["response"]
    beta = 0.1
    model = Gpt2(shape, prompt + response)
    ids = torch.randint(1, shape.vocab, (2 * pairs, prompt + response))
    reference = torch.zeros(2 * pairs)
    targets = ids[:, prompt:].reshape(-1)

    @case.compiled
    def loss() -> Tensor:
        hidden = model(ids[:, :-1])[:, prompt - 1 :]
        logits = model.logits(hidden).view(-1, shape.vocab)
        logprobs = -F.cross_entropy(logits, targets, reduction="none").view(2 * pairs, response).sum(dim=1)
        chosen, rejected = (logprobs - reference).chunk(2)
        return -F.logsigmoid(beta * (chosen - rejected)).mean()

    return ids.numel(), descend(loss, rmsprop(model.parameters()), 10.0)


def score(case: Case) -> tuple[int, Step]:
    shape, context, batch = case.shape, case["context"], case["batch"]
    model = Gpt2(shape, context).eval()
    ids = torch.randint(1, shape.vocab, (batch, context + 1))

    @torch.inference_mode()
    @case.compiled
    def logprobs() -> Tensor:
        logits = model.logits(model(ids[:, :-1]))
        return -F.cross_entropy(logits.view(-1, shape.vocab), ids[:, 1:].reshape(-1), reduction="none")

    return batch * context, logprobs


def sample(case: Case) -> tuple[int, Step]:
    shape, batch, prompt, new = case.shape, case["batch"], case["prompt"], case["new"]
    if case.get("compile"):
        raise SystemExit("`sample` has no compiled form: its cache grows with every token")
    model = Gpt2(shape, prompt + new).eval()
    prompts = torch.randint(1, shape.vocab, (batch, prompt))
    return batch * new, functools.partial(gpt2.sample, model, shape, prompts, new)


def sample_hf(case: Case) -> tuple[int, Step]:
    """Without an end token, so that exactly `new` tokens are drawn and no processor of logits has to see to it."""
    from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

    shape, batch, prompt, new = case.shape, case["batch"], case["prompt"], case["new"]
    config = GPT2Config(
        vocab_size=shape.vocab,
        n_positions=prompt + new,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=0,
    )
    model = GPT2LMHeadModel(config).eval()
    generation = GenerationConfig(
        do_sample=True, top_k=0, use_cache=True, min_new_tokens=new, max_new_tokens=new, pad_token_id=0
    )
    prompts = torch.randint(1, shape.vocab, (batch, prompt))

    def step() -> None:
        drawn = model.generate(prompts, attention_mask=torch.ones_like(prompts), generation_config=generation)
        assert drawn.shape == (batch, prompt + new), drawn.shape

    return batch * new, step


def forward_backward(case: Case, function: Callable[..., Tensor], *inputs: Tensor) -> Step:
    """The function of the inputs, and the gradients of all of them for a gradient of ones, as on our side."""
    function = case.compiled(function)
    for tensor in inputs:
        tensor.requires_grad_()

    def step() -> None:
        for tensor in inputs:
            tensor.grad = None
        result = function(*inputs)
        result.backward(torch.ones_like(result))

    return step


def gemm(case: Case) -> tuple[int, Step]:
    m, n, k = case["m"], case["n"], case["k"]
    x, w, b = torch.randn(m, k), torch.randn(k, n), torch.randn(n)
    return m, torch.inference_mode()(case.compiled(lambda: torch.addmm(b, x, w)))


def linear(case: Case) -> tuple[int, Step]:
    rows, inputs, outputs = case["rows"], case["inputs"], case["outputs"]
    tensors = torch.randn(rows, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
    return rows, forward_backward(case, F.linear, *tensors)


def attention(case: Case) -> tuple[int, Step]:
    batch, time, heads = case["batch"], case["time"], case["heads"]
    qkv = torch.randn(batch, time, 3 * heads * case["head_dim"])
    return batch * time, forward_backward(case, functools.partial(gpt2.attention, heads=heads), qkv)


def layer_norm(case: Case) -> tuple[int, Step]:
    rows, d = case["rows"], case["d"]
    tensors = torch.randn(rows, d), torch.randn(d), torch.randn(d)
    return rows, forward_backward(case, lambda x, weight, bias: F.layer_norm(x, (d,), weight, bias), *tensors)


def gelu(case: Case) -> tuple[int, Step]:
    rows, d = case["rows"], case["d"]
    return rows, forward_backward(case, functools.partial(F.gelu, approximate="tanh"), torch.randn(rows, d))


def target_logprobs(case: Case) -> tuple[int, Step]:
    rows, d, vocab = case["rows"], case["d"], case["vocab"]
    targets = torch.randint(vocab, (rows,))

    def logprobs(hidden: Tensor, head: Tensor) -> Tensor:
        return -F.cross_entropy(F.linear(hidden, head), targets, reduction="none")

    return rows, forward_backward(case, logprobs, torch.randn(rows, d), 0.02 * torch.randn(vocab, d))


def gpt2_like_tensors(count: int) -> list[Tensor]:
    """`count` parameters with gradients, in tensors of the sizes of GPT-2's blocks; the last one takes what is left."""
    d = 768 if count > 10_000_000 else 192
    block = [(d,), (d,), (3 * d, d), (3 * d,), (d, d), (d,), (d,), (d,), (4 * d, d), (4 * d,), (d, 4 * d), (d,)]
    tensors = []
    while count > 0:
        for size in block:
            tensor = torch.randn(size) if torch.Size(size).numel() <= count else torch.randn(count)
            tensor.grad = torch.randn_like(tensor)
            tensors.append(tensor)
            count -= tensor.numel()
            if count == 0:
                break
    return tensors


def optimizer_step(case: Case, make: Callable[..., torch.optim.Optimizer]) -> tuple[int, Step]:
    tensors = gpt2_like_tensors(case["params"])
    optimizer = make(tensors)

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(tensors, 1.0, foreach=True)
        optimizer.step()

    return case["params"], step


CASES = {
    "train": train,
    "dpo": dpo,
    "score": score,
    "sample": sample,
    "sample_hf": sample_hf,
    "gemm": gemm,
    "linear": linear,
    "attention": attention,
    "layer_norm": layer_norm,
    "gelu": gelu,
    "target_logprobs": target_logprobs,
    "adamw": functools.partial(optimizer_step, make=adamw),
    "rmsprop": functools.partial(optimizer_step, make=rmsprop),
}


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in CASES:
        raise SystemExit(f"found {sys.argv[1:]}, expected CASE key=value ... with a case of {', '.join(CASES)}")
    name, case = sys.argv[1], Case(protocol.parse_keys(sys.argv[2:]))
    torch.manual_seed(0)
    torch.set_num_interop_threads(1)
    torch.set_num_threads(case.get("threads", os.cpu_count() or 1))
    try:
        tokens, step = CASES[name](case)
        seconds, steps = protocol.time_steps(step, case.get("budget", protocol.BUDGET_SECONDS))
    except torch._dynamo.exc.TorchDynamoException as error:
        protocol.report("torch", name, case, error=f"torch.compile: {type(error).__name__}: {error}"[:500])
        raise SystemExit(1) from None
    result = {"tokens": tokens, "seconds": seconds, "steps": steps}
    if name == "gemm":
        result["gflops"] = 2e-9 * case["m"] * case["n"] * case["k"] / seconds
    protocol.report("torch", name, case, **result)


if __name__ == "__main__":
    main()
