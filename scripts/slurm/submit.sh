#!/usr/bin/env bash
# Submits a study to SLURM: the stages as one job, the runs as an array that waits for it, and the report as a job that
# waits for the array. Arguments go to `experiments imdb-frontier`.
#
#   PRESET=full OUT=/shared/full DATA=imdb DEVICE=cuda RUNS_OPTIONS="--gpus=1 --time=2:00:00" \
#       scripts/slurm/submit.sh --set 'seeds=[1,2,3]'
#
# Environment, all optional:
#   PRESET          a preset by name, or a file [quick]
#   OUT             output folder, on a file system that all nodes share and that has file locks
#                   [output/imdb-frontier/PRESET]
#   DATA, DEVICE    as --data and --device [the program's]
#   BINARY          the program, on a path that all nodes share [target/debug/experiments]
#   OPTIONS         options of sbatch for all jobs, such as "--partition=gpu --account=me"
#   STAGES_OPTIONS, RUNS_OPTIONS, GATHER_OPTIONS
#                   more of them for one kind, such as "--gpus=1 --cpus-per-task=8"
#   PARALLEL        runs at a time [no limit]
#   MAX_RESTARTS    times that a task that ran into its time limit requeues itself [3]
#
# Prints the numbers of the three jobs. Calling it again does what is not finished.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

preset=${PRESET:-quick}
name=${preset##*/}
out=${OUT:-output/imdb-frontier/${name%.toml}}
binary=${BINARY:-$here/../../target/debug/experiments}
[ -x "$binary" ] || { echo "no program at $binary: cargo build -p experiments, or set BINARY" >&2; exit 1; }

mkdir -p "$out/cache/slurm"
logs=$(cd "$out/cache/slurm" && pwd)
# A new name each time: the tasks of an earlier call may still count the lines of its list.
commands=$(mktemp "$logs/commands.XXXXXX")
"$binary" imdb-frontier --preset "$preset" --out "$out" ${DATA:+--data "$DATA"} ${DEVICE:+--device "$DEVICE"} "$@" \
    --plan --format commands >"$commands"
last=$(wc -l <"$commands")

# submit KIND LINES [option ...]: prints the number of the job.
submit() {
    local kind=$1 lines=$2
    shift 2
    # Unquoted: options are words.
    # shellcheck disable=SC2086
    sbatch --parsable --job-name="$name-$kind" --array="$lines" --output="$logs/%A_%a.log" ${OPTIONS:-} "$@" \
        "$here/imdb-frontier.sbatch" "$commands" | cut -d ';' -f 1
}

# shellcheck disable=SC2086
{
    stages=$(submit stages 1 ${STAGES_OPTIONS:-})
    trap 'scancel "$stages"' ERR
    runs=$(submit runs "2-$((last - 1))${PARALLEL:+%$PARALLEL}" --dependency="afterok:$stages" \
        --kill-on-invalid-dep=yes ${RUNS_OPTIONS:-})
    trap 'scancel "$stages" "$runs"' ERR
    # The report is drawn whatever became of single runs, and its job fails if one is missing.
    gather=$(submit gather "$last" --dependency="afterany:$runs" ${GATHER_OPTIONS:-})
}
echo "stages $stages, runs $runs (lines 2 to $((last - 1)) of $commands), gather $gather; logs in $logs"
