#!/usr/bin/env bash
# Measures every case of cases.txt on both sides in turn (ours, theirs, theirs, ours, ...), one process a measurement,
# and writes results/speed/<machine>.{jsonl.gz,csv,md,svg} and results/speed/ratios.md, all machines side by side.
#
#   scripts/peers/compare.sh [PYTHON]
#
# PYTHON has what requirements.txt names. From the environment:
#   PAIRS        alternating pairs of measurements of each case (5)
#   BUDGET       seconds of timed steps of one measurement (6)
#   ONLY         extended regular expression; only the lines of cases.txt that match are measured, and replace their
#                earlier measurements in the results
#   MODEL        checkpoint that the runs against TRL start from (data/reference-lm)
#   PREFERENCES  their preference pairs (the first preferences.jsonl under output/)
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${1:-python3}
pairs=${PAIRS:-5}
budget=${BUDGET:-6}
only=${ONLY:-.}
model=${MODEL:-data/reference-lm}
preferences=${PREFERENCES:-$(find output -name preferences.jsonl -print -quit 2>/dev/null || true)}
peers=scripts/peers
run=$(date +%s)
machine=$("$python" "$peers/machine.py")
mkdir -p results/speed
records=results/speed/$machine.jsonl
[ ! -f "$records.gz" ] || gunzip "$records.gz"

scratch=$(mktemp -d)
running=()
finish() {
    [ ${#running[@]} -eq 0 ] || kill "${running[@]}" 2>/dev/null || true
    rm -rf "$scratch"
}
trap finish EXIT

# Our side is built once.
declare -A program
"$python" "$peers/benches.py" >"$scratch/build"
while read -r name words; do
    program[$name]=$words
done <"$scratch/build"

# The value of a key of the current case, or a default.
key() {
    local word
    for word in "${keys[@]}"; do
        case $word in "$1="*) echo "${word#*=}" && return ;; esac
    done
    echo "$2"
}

# Runs one side of the current case, in as many processes at once as `jobs` says, and appends the record.
measure() {
    local side=$1 pair=$2 jobs threads job line lines='' command
    jobs=$(key jobs 1)
    threads=$(key threads 1)
    case $side-$peer in
        ours-*)
            read -r -a command <<<"${program[$bench]}"
            command+=("$ours" "${keys[@]}" "budget=$budget")
            ;;
        peer-torch) command=("$python" "$peers/bench_torch.py" "$theirs" "${keys[@]}" "budget=$budget") ;;
        # glibc keeps what is freed instead of returning it to the system, as the allocator of our side does.
        peer-malloc) command=(env MALLOC_TRIM_THRESHOLD_=4000000000 MALLOC_MMAP_THRESHOLD_=4000000000
            "$python" "$peers/bench_torch.py" "$theirs" "${keys[@]}" "budget=$budget") ;;
        peer-compile) command=("$python" "$peers/bench_torch.py" "$theirs" "${keys[@]}" "budget=$budget" compile=1) ;;
        peer-trl) command=("$python" "$peers/bench_trl.py" "$theirs" "${keys[@]/#/--}") ;;
        *) echo "cases.txt: found the peer \`$peer\`, expected torch, malloc, compile or trl" >&2 && exit 1 ;;
    esac
    running=()
    for ((job = 1; job <= jobs; job++)); do
        RAYON_NUM_THREADS=$threads OMP_NUM_THREADS=$threads MKL_NUM_THREADS=$threads \
            "${command[@]}" >"$scratch/line$job" 2>"$scratch/log$job" &
        running+=($!)
    done
    for job in "${!running[@]}"; do
        wait "${running[$job]}" || true
    done
    running=()
    for ((job = 1; job <= jobs; job++)); do
        line=$(tail -n 1 "$scratch/line$job")
        if [ "${line:0:1}" != '{' ]; then
            echo "    failed ($side): $(tail -n 3 "$scratch/log$job")" >&2
            line=null
        fi
        lines+="${lines:+, }$line"
    done
    # Where the files lie is of no interest to others.
    lines=${lines//"$preferences"/@pairs}
    lines=${lines//"$model"/@model}
    printf '{"run": %d, "case": "%s", "pair": %d, "side": "%s", "jobs": [%s]}\n' \
        "$run" "$case" "$pair" "$side" "$lines" >>"$records"
}

while read -r -u 3 case; do
    if [[ -z $case || $case == \#* || ! $case =~ $only ]]; then continue; fi
    read -r bench ours peer theirs rest <<<"$case"
    if [[ $rest == *@pairs* && ! -f $preferences ]]; then
        echo "skipped, as there are no preference pairs (PREFERENCES=FILE names them): $case" >&2
        continue
    fi
    read -r -a keys <<<"$rest"
    keys=("${keys[@]//@model/$model}")
    keys=("${keys[@]//@pairs/$preferences}")
    for ((pair = 1; pair <= pairs; pair++)); do
        echo "$pair/$pairs  $case" >&2
        if ((pair % 2)); then order=(ours peer); else order=(peer ours); fi
        for side in "${order[@]}"; do
            measure "$side" "$pair"
        done
    done
done 3<"$peers/cases.txt"

"$python" "$peers/summarise.py" "$records"
gzip -9n "$records"
