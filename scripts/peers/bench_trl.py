"""One run of TRL on the CPU, in fp32, from an exported checkpoint and a file of preference pairs; one line of JSON.

    python bench_trl.py dpo --model DIR --pairs FILE --steps N --batch B --beta BETA --lr LR --threads N
    python bench_trl.py ppo --model DIR --pairs FILE --steps N --rollouts B --minibatch M --response R --threads N

The pairs have TRL's columns: prompt, chosen, rejected. Both runs use TRL as a user would, with our hyper-parameters
and with what makes it fast here: no gradient checkpointing and no bfloat16 (TRL's defaults), no evaluation, no saving,
no reports. Loading the model and the data is not timed, and nor is tokenising, on either side.

dpo: `seconds` are those of the reference's log-probs and of training; `tokens` those of the pairs, prompts included.
TRL adds the end token to every response; it is not counted.
ppo: `seconds` are those of the trainer's construction and of training, `tokens` those of the responses. The reward
model is read from `--reward-model`, or else is the policy with a random head, which takes the same time.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import protocol


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cases = parser.add_subparsers(dest="case", required=True)
    dpo, ppo = cases.add_parser("dpo"), cases.add_parser("ppo")
    for case in (dpo, ppo):
        case.add_argument("--model", type=Path, required=True, help="folder in Hugging Face's layout")
        case.add_argument("--pairs", type=Path, required=True, help="preference pairs, one JSON object a line")
        case.add_argument("--steps", type=int, required=True)
        case.add_argument("--lr", type=float, default=1e-5)
        case.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    dpo.add_argument("--batch", type=int, default=64, help="pairs a step")
    dpo.add_argument("--beta", type=float, default=0.1)
    ppo.add_argument("--rollouts", type=int, default=128, help="responses a step")
    ppo.add_argument("--minibatch", type=int, default=64, help="responses an optimiser step")
    ppo.add_argument("--response", type=int, default=24, help="tokens of a response")
    ppo.add_argument("--reward-model", type=Path, help="folder of a model with one label")
    return parser.parse_args()


def read(pairs: Path) -> list[dict[str, str]]:
    """The pairs as text."""
    rows = [json.loads(line) for line in pairs.read_text(encoding="utf-8").splitlines()]
    return [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in rows]


def load(model: Path, scalar: bool = False):
    """The language model of a folder in fp32, or the same with a head of one output."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    if scalar:
        return AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype=torch.float32)
    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)


def tokenizer_of(model: Path, padding_side: str):
    """The folder's tokenizer, which must have a begin token and a padding token that is not its end token."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, padding_side=padding_side)
    special = {"begin": tokenizer.bos_token_id, "end": tokenizer.eos_token_id, "padding": tokenizer.pad_token_id}
    if None in special.values() or special["padding"] == special["end"]:
        raise SystemExit(f"{model}: found the special tokens {special}, expected all three and a padding of its own")
    return tokenizer


def common(folder: str, args: argparse.Namespace) -> dict:
    """What both trainers are told alike."""
    return {
        "output_dir": folder,
        "learning_rate": args.lr,
        "lr_scheduler_type": "constant",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "eval_strategy": "no",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": 0,
    }


def dpo(args: argparse.Namespace, folder: str) -> dict:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    class Timed(DPOTrainer):
        """TRL's trainer; it computes the reference's log-probs while it is constructed, so that is timed inside."""

        def _precompute_ref_logps(self, *arguments):
            start = time.perf_counter()
            dataset = super()._precompute_ref_logps(*arguments)
            self.reference_seconds = time.perf_counter() - start
            return dataset

    tokenizer, rows = tokenizer_of(args.model, "right"), read(args.pairs)[: args.steps * args.batch]
    if len(rows) < args.steps * args.batch:
        raise SystemExit(f"{args.pairs}: found {len(rows)} pairs, expected {args.steps * args.batch}")

    def length(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    # The begin token is part of every prompt.
    tokens = sum(2 * (1 + length(row["prompt"])) + length(row["chosen"]) + length(row["rejected"]) for row in rows)
    config = DPOConfig(
        **common(folder, args),
        per_device_train_batch_size=args.batch,
        max_steps=args.steps,
        beta=args.beta,
        loss_type="sigmoid",
        # torch.optim.RMSprop with its own constants, alpha 0.99 and eps 1e-8, which are ours too.
        optim="rmsprop",
        weight_decay=0.0,
        max_grad_norm=10.0,
        max_length=None,
        precompute_ref_log_probs=True,
    )
    data = Dataset.from_list([{**row, "prompt": tokenizer.bos_token + row["prompt"]} for row in rows])
    trainer = Timed(model=load(args.model), args=config, train_dataset=data, processing_class=tokenizer)
    start = time.perf_counter()
    result = trainer.train()
    training = time.perf_counter() - start
    return {
        "tokens": tokens,
        "seconds": trainer.reference_seconds + training,
        "reference_seconds": trainer.reference_seconds,
        "loss": result.training_loss,
    }


def ppo(args: argparse.Namespace, folder: str) -> dict:
    from datasets import Dataset
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    tokenizer = tokenizer_of(args.model, "left")
    prompts = list(dict.fromkeys(row["prompt"] for row in read(args.pairs)))
    # The trainer drops an incomplete batch.
    prompts *= -(-args.rollouts // len(prompts))
    begin = tokenizer.bos_token
    data = Dataset.from_list(
        [{"input_ids": tokenizer(begin + prompt, add_special_tokens=False)["input_ids"]} for prompt in prompts]
    )
    policy, reference, value = load(args.model), load(args.model), load(args.model, scalar=True)
    reward = load(args.reward_model or args.model, scalar=True)
    config = PPOConfig(
        **common(folder, args),
        # Not 64 with two accumulated: TRL would then make one optimiser step of every two minibatches.
        per_device_train_batch_size=args.rollouts,
        gradient_accumulation_steps=1,
        num_mini_batches=args.rollouts // args.minibatch,
        local_rollout_forward_batch_size=args.rollouts,
        total_episodes=args.steps * args.rollouts,
        num_ppo_epochs=1,
        num_sample_generations=0,
        response_length=args.response,
        stop_token="eos",
        temperature=1.0,
        kl_coef=0.05,
        gamma=1.0,
        lam=0.95,
        optim="adamw_torch_fused",
        adam_beta1=0.9,
        adam_beta2=0.95,
        adam_epsilon=1e-5,
        weight_decay=0.0,
    )
    start = time.perf_counter()
    trainer = PPOTrainer(
        args=config,
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=reward,
        value_model=value,
        train_dataset=data,
    )
    trainer.train()
    seconds = time.perf_counter() - start
    found = trainer.state.global_step
    if found != args.steps:
        raise SystemExit(f"TRL made {found} steps, expected {args.steps}")
    return {"tokens": args.steps * args.rollouts * args.response, "seconds": seconds}


def main() -> None:
    args = arguments()
    with tempfile.TemporaryDirectory() as folder:
        # Everything is local, and an empty cache keeps one run from finding the last one's reference log-probs.
        os.environ.update(
            HF_HUB_OFFLINE="1",
            HF_DATASETS_CACHE=folder,
            TOKENIZERS_PARALLELISM="false",
            TRL_EXPERIMENTAL_SILENCE="1",
        )
        # Standard output holds the one line and nothing of what the libraries print.
        with contextlib.redirect_stdout(sys.stderr):
            import torch

            torch.set_num_interop_threads(1)
            torch.set_num_threads(args.threads)
            result = dpo(args, folder) if args.case == "dpo" else ppo(args, folder)
    keys = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    name = keys.pop("case")
    keys = {key: value for key, value in keys.items() if value is not None}
    protocol.report("trl", name, keys, **result)


if __name__ == "__main__":
    main()
