#!/usr/bin/env bash
# Runs the preset `smoke` once by itself and once through SLURM, stops two runs in the middle, and compares the two
# frontier.csv byte for byte. SLURM with one node, this machine, is set up for that in a temporary folder and taken down
# at the end. Debian or Ubuntu, as root; installs slurm-wlm and munge if they are missing. A minute or two on two cores after the
# build.
#
#   scripts/slurm/test.sh
#   BINARY=path/to/experiments scripts/slurm/test.sh    # without the build
set -euo pipefail
cd "$(dirname "$0")/../.."

[ "$(id -u)" = 0 ] || { echo "needs root, to start SLURM's daemons" >&2; exit 1; }
if ! command -v slurmctld slurmd munged sbatch >/dev/null; then
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends slurm-wlm munge
fi
if [ -z "${BINARY:-}" ]; then
    cargo build -p experiments
    BINARY=${CARGO_TARGET_DIR:-target}/debug/experiments
fi
BINARY=$(realpath "$BINARY")
export BINARY

work=$(mktemp -d)
chmod 755 "$work"
export SLURM_CONF=$work/slurm.conf
# stop_daemon FILE: ends the process whose number is in a file, and waits until it has.
stop_daemon() {
    local pid
    pid=$(cat "$1" 2>/dev/null) && kill "$pid" 2>/dev/null || return 0
    for _ in {1..100}; do
        # Where nobody collects orphans, one that has ended stays as a zombie.
        [[ $(ps -o stat= -p "$pid") == [!Z]* ]] || return 0
        sleep 0.1
    done
}
finish() {
    local status=$?
    trap - EXIT
    scancel --quiet --user=root 2>/dev/null || true
    for daemon in slurmd slurmctld munged; do
        stop_daemon "$work/$daemon.pid"
    done
    if [ "$status" -eq 0 ]; then
        rm -rf "$work"
    else
        tail -n 20 "$work"/*.log "$work"/on*/cache/slurm/*.log >&2 || true
        echo "failed; $work is kept" >&2
    fi
    exit "$status"
}
trap finish EXIT

# SLURM of one node, without cgroups and accounting, which a container may lack.
start_slurm() {
    local host cores
    host=$(hostname -s)
    cores=$(getconf _NPROCESSORS_ONLN)
    mkdir "$work/state" "$work/spool"
    head -c 1024 /dev/urandom >"$work/munge.key"
    chmod 400 "$work/munge.key"
    # --force: root owns it all here, which munged warns of.
    munged --force --key-file="$work/munge.key" --socket="$work/munge.socket" --pid-file="$work/munged.pid" \
        --log-file="$work/munged.log" --seed-file="$work/munged.seed" 2>/dev/null
    # A requeued task waits until the credential of its first start has expired.
    cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket,cred_expire=10
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    slurmctld
    slurmd
    # Says what is wrong if nothing comes.
    await 60 "the node is up" node_is_up
}

# await SECONDS WHAT COMMAND ...: calls a command until it succeeds.
await() {
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ "$SECONDS" -lt "$until" ] || { echo "waited too long: $what" >&2; squeue --array >&2; return 1; }
        sleep 0.2
    done
}

node_is_up() { [ "$(sinfo --noheader --format=%T)" = idle ]; }
# field JOB NAME: such as JobState.
field() { scontrol show job "$1" --oneliner | tr ' ' '\n' | sed -n "s/^$2=//p"; }
is() { [ "$(field "$1" JobState)" = "$2" ]; }
# Whether a run is being trained: it has metrics and no marker.
halfway() { [ "$({ wc -l <"$out/runs/$1/metrics.csv" || echo 0; } 2>/dev/null)" -ge 2 ]; }
unfinished() { [ ! -e "$out/cache/runs/$1.json" ]; }

# Runs long enough to be stopped in the middle.
longer=(--set dpo.steps=3000 --set dpo.evaluate_every=1000)
echo "== smoke by itself"
"$BINARY" imdb-frontier --preset smoke "${longer[@]}" --out "$work/alone" 2>"$work/alone.log"

echo "== SLURM"
start_slurm
sinfo
out="$work/on slurm"
submit() { PRESET=smoke OUT="$out" scripts/slurm/submit.sh "${longer[@]}"; }
submitted=$(STAGES_OPTIONS="--cpus-per-task=$(getconf _NPROCESSORS_ONLN)" submit)
echo "$submitted"
[[ $submitted =~ ^stages\ ([0-9]+),\ runs\ ([0-9]+)\ .*\ of\ (.*)\),\ gather\ ([0-9]+)\; ]]
runs=${BASH_REMATCH[2]} commands=${BASH_REMATCH[3]} gather=${BASH_REMATCH[4]}

# stop RUN WHAT COMMAND ...: has a command stop a run that is being trained.
stop() {
    local run=$1 what=$2 task
    shift 2
    task=${runs}_$(cut -f 1 "$commands" | grep -nx "$run" | cut -d : -f 1)
    await 600 "$run is being trained" halfway "$run"
    "$@" "$task"
    unfinished "$run" || { echo "$run had ended before it was stopped" >&2; exit 1; }
    echo "== $run (task $task): $what after $(wc -l <"$out/runs/$run/metrics.csv") lines of metrics"
    await 60 "$run waits for its second start" is "$task" PENDING
    unfinished "$run" || { echo "$run counts as finished, and was stopped" >&2; exit 1; }
    stopped+=("$task")
}
stopped=()
# Some versions answer an array's task that it cannot be altered now, although it gets the signal, and scancel would
# try again five seconds later. Whether it was stopped shows below.
signal() { timeout 3 scancel --batch --signal=TERM "$1" || true; }
first=$(sed -n 2p "$commands" | cut -f 1)
second=$(sed -n 3p "$commands" | cut -f 1)
stop "$first" "signalled as before its time limit" signal
stop "$second" "requeued from outside" scontrol requeue

await 900 "the report is made" is "$gather" COMPLETED
for task in "${stopped[@]}"; do
    [ "$(field "$task" Restarts)" = 1 ] || { echo "task $task: $(field "$task" Restarts) restarts, expected 1" >&2; exit 1; }
done
cmp "$work/alone/frontier.csv" "$out/frontier.csv"
echo "== the same $(wc -l <"$out/frontier.csv") lines of frontier.csv"

echo "== submitted again: nothing is done twice"
submitted=$(submit)
[[ $submitted =~ gather\ ([0-9]+)\; ]]
await 300 "the second report is made" is "${BASH_REMATCH[1]}" COMPLETED
[ "$(grep -l "finished before" "$out"/cache/slurm/*.log | wc -l)" -ge $(($(wc -l <"$commands") - 1)) ]
cmp "$work/alone/frontier.csv" "$out/frontier.csv"
echo "== passed"
