"""One measurement of one case in PyTorch eager, printed as one line of JSON.

    python bench_torch.py CASE key=value ...
    python bench_torch.py -                   cases from standard input, one a line; each is answered with a line

    train          shape context batch           one step of supervised fine-tuning: forward, backward, clip, AdamW;
                                                 with `lora` of PEFT's adapters of that rank at all linear layers
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

The first four take `family` too: gpt2, which it is by default, or llama.

Every case also takes `threads`, `budget` (seconds of timed steps, 6 by default), `compile=1` (torch.compile), `device`
(cpu by default, or cuda) and `dtype`:

    f32    products of matrices in full precision; the default
    tf32   products of matrices by TF32 tensor cores, all else in f32 (cuda)
    bf16   torch.autocast to bfloat16 over weights in f32, for the cases of whole models

`jobs` and keys it does not know are echoed only.

On cuda a step ends with a synchronisation, as a step on our side ends with waiting for the device, and the warm-up goes on
until steps are alike. `peak_gpu_mib` is the most memory that tensors held at once. `sample` stops for no end token, keeps
no log-probs and waits for the device only once, at the end, with the tokens: our side reads the tokens back as it goes, as
it has to know which rows have ended.
"""

import contextlib
import gc
import functools
import json
import os
import sys
from collections.abc import Callable

import gpt2
import llama
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
        return self.family[0].parse(self["shape"])

    @property
    def family(self) -> tuple[type[Shape], Callable[[Shape, int], torch.nn.Module]]:
        families = {"gpt2": (Shape, Gpt2), "llama": (llama.LlamaShape, llama.Llama)}
        name = self.get("family", "gpt2")
        if name not in families:
            raise SystemExit(f"found `family={name}`, expected {' or '.join(families)}")
        return families[name]

    def model(self, positions: int) -> torch.nn.Module:
        return self.family[1](self.shape, positions)

    @property
    def device(self) -> str:
        return self.get("device", "cpu")

    @property
    def on_cuda(self) -> bool:
        return torch.device(self.device).type == "cuda"

    def autocast(self) -> contextlib.AbstractContextManager:
        """What a forward pass runs in: with `dtype=bf16` products of matrices in bfloat16, weights cast once a pass."""
        if self.get("dtype") != "bf16":
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)

    def compiled(self, function: Callable) -> Callable:
        """The function or module itself, or by torch.compile if the case says so."""
        return torch.compile(function) if self.get("compile") else function


def descend(case: Case, loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer, max_norm: float) -> Step:
    """A training step: gradients of `loss`, clipped to a global norm, and one step of the optimiser."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with case.autocast():
            value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, max_norm, foreach=True)
        optimizer.step()

    return step


def adamw(parameters) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True)


def rmsprop(parameters) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(parameters, lr=1e-6, alpha=0.99, eps=1e-8, foreach=True)


def train(case: Case) -> tuple[int, Step]:
    shape, context, batch = case.shape, case["context"], case["batch"]
    model = case.model(context)
    if "lora" in case:
        from peft import LoraConfig, inject_adapter_in_model

        linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
        inject_adapter_in_model(LoraConfig(r=case["lora"], lora_alpha=16, target_modules=linear), model)
    ids = torch.randint(1, shape.vocab, (batch, context + 1))

    @case.compiled
    def loss() -> Tensor:
        logits = model.logits(model(ids[:, :-1]))
        return F.cross_entropy(logits.view(-1, shape.vocab), ids[:, 1:].reshape(-1))

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return batch * context, descend(case, loss, adamw(trained), 1.0)


def dpo(case: Case) -> tuple[int, Step]:
    """Chosen sequences, then rejected ones, all of one length; logits only where a response token is predicted."""
    shape, pairs, prompt, response = case.shape, case["pairs"], case["prompt"], case["response"]
    beta = 0.1
    model = case.model(prompt + response)
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

    return ids.numel(), descend(case, loss, rmsprop(model.parameters()), 10.0)


def score(case: Case) -> tuple[int, Step]:
    shape, context, batch = case.shape, case["context"], case["batch"]
    model = case.model(context).eval()
    ids = torch.randint(1, shape.vocab, (batch, context + 1))

    @torch.inference_mode()
    @case.compiled
    def logprobs() -> Tensor:
        logits = model.logits(model(ids[:, :-1]))
        return -F.cross_entropy(logits.view(-1, shape.vocab), ids[:, 1:].reshape(-1), reduction="none")

    def step() -> Tensor:
        with case.autocast():
            # On the CPU already, or read back.
            return logprobs().cpu()

    return batch * context, step


def sample(case: Case) -> tuple[int, Step]:
    shape, batch, prompt, new = case.shape, case["batch"], case["prompt"], case["new"]
    if case.get("compile"):
        raise SystemExit("`sample` has no compiled form: its cache grows with every token")
    model = case.model(prompt + new).eval()
    prompts = torch.randint(1, shape.vocab, (batch, prompt))

    def step() -> Tensor:
        with case.autocast():
            return gpt2.sample(model, shape, prompts, new).cpu()

    return batch * new, step


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
        with case.autocast():
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


# Cases that `dtype=bf16` is for.
MODELS = ("train", "dpo", "score", "sample", "sample_hf")


def prepare(name: str, case: Case) -> None:
    """Checks the keys `device` and `dtype` and brings PyTorch into their state."""
    dtype = case.get("dtype", "f32")
    if dtype not in ("f32", "tf32", "bf16"):
        raise SystemExit(f"found `dtype={dtype}`, expected f32, tf32 or bf16")
    if dtype == "tf32" and not case.on_cuda:
        raise SystemExit("found `dtype=tf32`, which only device=cuda has")
    if dtype == "bf16" and name not in MODELS:
        raise SystemExit(f"found `dtype=bf16`, expected f32: only {', '.join(MODELS)} have it")
    if case.on_cuda and not torch.cuda.is_available():
        raise SystemExit("found `device=cuda`, and PyTorch sees no such device")
    torch.manual_seed(0)
    torch.set_num_threads(case.get("threads", os.cpu_count() or 1))
    if case.on_cuda:
        torch.set_float32_matmul_precision("highest" if dtype == "f32" else "high")
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def measure(words: list[str]) -> None:
    """Measures a case and prints its line."""
    if not words or words[0] not in CASES:
        raise SystemExit(f"found {words}, expected CASE key=value ... with a case of {', '.join(CASES)}")
    name, case = words[0], Case(protocol.parse_keys(words[1:]))
    prepare(name, case)
    # Weights and inputs live on the device. Steps make their tensors from those: this context would slow them down.
    with torch.device(case.device):
        tokens, step = CASES[name](case)

    def finished() -> None:
        step()
        torch.cuda.synchronize()

    on_cuda = case.on_cuda
    budget = case.get("budget", protocol.BUDGET_SECONDS)
    seconds, steps = protocol.time_steps(finished if on_cuda else step, budget, settle=on_cuda)
    result = {"tokens": tokens, "seconds": seconds, "steps": steps}
    if name == "gemm":
        result["gflops"] = 2e-9 * case["m"] * case["n"] * case["k"] / seconds
    if on_cuda:
        result["peak_gpu_mib"] = torch.cuda.max_memory_allocated() / 2**20
    protocol.report("torch", name, case, **result)


def measure_lines() -> None:
    """Measures the cases of standard input, one a line; one that fails has its message for an answer."""
    for line in sys.stdin:
        try:
            measure(line.split())
        except (Exception, SystemExit) as error:
            message = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else str(error)
            print(json.dumps({"side": "torch", "case": line.strip(), "error": message[:500]}), flush=True)
        gc.collect()


def main() -> None:
    torch.set_num_interop_threads(1)
    if sys.argv[1:] == ["-"]:
        measure_lines()
        return
    try:
        measure(sys.argv[1:])
    except torch._dynamo.exc.TorchDynamoException as error:
        message = f"torch.compile: {type(error).__name__}: {error}"[:500]
        protocol.report("torch", sys.argv[1], protocol.parse_keys(sys.argv[2:]), error=message)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
