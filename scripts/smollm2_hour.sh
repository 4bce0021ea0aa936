#!/usr/bin/env bash
# What two cores reach of the preset smollm2 in an hour: every stage, DPO at two betas, PPO and PPO-GT, on few examples.
# Its settings are guesses that nothing was chosen by.
#   scripts/smollm2_hour.sh [OPTION OF imdb-frontier]...
set -euo pipefail
cd "$(dirname "$0")/.."

experiments() { cargo run -p experiments -- "$@"; }

[ -d data/cache/models/smollm2 ] || experiments fetch smollm2
[ -d data/cache/models/minilm ] || experiments fetch minilm

sets=(
    reference.fine_tune.window=48
    reference.fine_tune.sft.steps=100
    reference.fine_tune.sft.batch_size=16
    reference.fine_tune.sft.optimizer.schedule.warmup_steps=10

    truth.training.held_out=1000
    truth.training.evaluate_every=200
    truth.training.training.steps=400
    truth.training.training.optimizer.schedule.warmup_steps=40

    prompts.train=400
    prompts.tune=64
    prompts.evaluate=128
    evaluation.reference_samples=16

    # One pass over the pairs of 380 prompts, as DPO makes.
    reward_model.steps=24
    reward_model.evaluate_every=12
    reward_model.optimizer.schedule.warmup_steps=4

    dpo.sweep.beta=[0.48,0.1]
    dpo.steps=24
    dpo.evaluate_every=6
    dpo.optimizer.learning_rate=1e-5
    dpo.optimizer.schedule.warmup_steps=4

    # These hold for both of the preset's tables of PPO; the one without a penalty has no run.
    ppo.sweep.kl.target_kl=[0.95]
    ppo.sweep.kl.kl_coef=[]
    ppo-gt.sweep.kl.target_kl=[0.95]

    online-dpo.sweep.beta=[]
    online-dpo-gt.sweep.beta=[]
    rloo.sweep.kl.target_kl=[]
    rloo-gt.sweep.kl.target_kl=[]
    unlikelihood.sweep.loss.alpha=[]
    preferred-ft.sweep.optimizer.learning_rate=[]
)
for method in ppo ppo-gt; do
    sets+=(
        $method.steps=16
        $method.rollouts=32
        $method.minibatch_size=32
        $method.evaluate_every=4
        $method.value_warmup=2
        $method.policy_optimizer.learning_rate=5e-5
        $method.policy_optimizer.schedule.warmup_steps=2
    )
done
experiments imdb-frontier --preset smollm2 "${sets[@]/#/--set=}" "$@"
