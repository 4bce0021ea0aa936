#!/usr/bin/env bash
# Runs what one wants from a GPU, in order and each part with a time limit, from a folder that pack.sh made.
#
#   PACK/scripts/devices/gpu.sh PACK OUT
#
#   1  the checks and rates of the device                        devices.txt, devices.json
#   2  the cases of cases.txt, on our side and in PyTorch        bench.jsonl, bench.md, bench.log
#   3  the study, which is stopped at its limit; its report is   study.tar.gz, study.log
#      then drawn from the runs that are finished
#
# and times.txt says what each part took: OUT gets these eight files. A part that fails does not stop the next. The machine
# needs bash, tar, gzip and python3, and the driver; PyTorch for the other side of part 2, and libdevice, which a CUDA
# toolkit, nvidia-nvvm or triton (PyTorch brings it) has.
#
# Settings, from the environment; a part of 0 seconds is left out:
#   DEVICE           as --device takes it [cuda]
#   DEVICES_SECONDS  most seconds of part 1 [90]
#   BENCH_SECONDS    of part 2 [150], and for bench.py BENCH_BUDGET [1], BENCH_PASSES [1]
#   STUDY_SECONDS    of part 3 [900], the report not counted
#   PRESET, JOBS     of the study [gpu, 4]
#   STUDY_ARGS       more arguments of the study, such as '--set seeds=[1] --set dpo.sweep.beta=[0.1]'
#   MPS              whether NVIDIA's MPS serves the study, so that kernels of several runs go at once: yes, no, or auto,
#                    which is yes where it is installed and works [auto]
#   PYTHON           an interpreter with PyTorch [python3]
#   WORK             a folder for what is unpacked, which stays there [a temporary one]
set -uo pipefail

pack=$(cd "${1:?usage: gpu.sh PACK OUT}" && pwd) || exit 2
mkdir -p "${2:?usage: gpu.sh PACK OUT}" && out=$(cd "$2" && pwd) || exit 2
device=${DEVICE:-cuda}
python=${PYTHON:-python3}
begun=$SECONDS

if [ -n "${WORK:-}" ]; then
    mkdir -p "$WORK" && work=$(cd "$WORK" && pwd) || exit 2
else
    work=$(mktemp -d) || exit 2
    trap 'rm -rf "$work"' EXIT
fi

# The contents of an .xz file, by Python where xz is missing.
unpacked() {
    if command -v xz > /dev/null; then
        xz -dc -T0 "$1"
    else
        python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer, 1 << 20)' "$1"
    fi
}

# Says what a part took: NAME, exit code, and the second at which it began.
took() {
    printf '%-8s %4d s   exit code %d   at %d s\n' "$1" $((SECONDS - $3)) "$2" $((SECONDS - begun)) | tee -a "$out/times.txt"
}

# A folder with nvvm/libdevice/libdevice.10.bc, which kernels' mathematical functions come from.
toolkit() {
    local folder file
    for folder in "${CUDA_PATH:-}" /usr/local/cuda /usr/local/cuda-* /opt/cuda /usr/lib/cuda; do
        if [ -n "$folder" ] && [ -f "$folder/nvvm/libdevice/libdevice.10.bc" ]; then
            echo "$folder"
            return
        fi
    done
    file=$("$python" - <<'END'
import pathlib, site, sys, sysconfig

places = [*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("purelib"), *sys.path]
for package in ("nvidia", "triton"):
    for place in places:
        for found in sorted(pathlib.Path(place or ".", package).glob("**/libdevice*.bc")):
            sys.exit(print(found))
END
    )
    if [ -n "$file" ]; then
        mkdir -p "$work/cuda/nvvm/libdevice"
        cp "$file" "$work/cuda/nvvm/libdevice/libdevice.10.bc"
        echo "$work/cuda"
    fi
}

unpack() {
    cp -r "$pack/data" "$pack/experiments" "$pack/scripts" "$work" || return
    # The folder `experiments` holds the presets.
    unpacked "$pack/experiments.xz" > "$work/program" && chmod +x "$work/program" || return
    data=embedded
    if [ -f "$pack/reviews.tar.xz" ]; then
        unpacked "$pack/reviews.tar.xz" | gzip -1 > "$work/reviews.tar.gz" || return
        data=$work/reviews.tar.gz
    fi
}

devices() {
    timeout -k 5 "$DEVICES_SECONDS" "$work/program" devices --device "$device" --format json \
        > "$out/devices.json" 2> "$out/devices.txt"
}

bench() {
    # Its own limit is --total; the other one is for what hangs.
    timeout -k 5 $((BENCH_SECONDS + 20)) python3 scripts/devices/bench.py "$work/program" "$device" \
        --python "$python" --out "$out/bench.jsonl" --total "$BENCH_SECONDS" --budget "${BENCH_BUDGET:-1}" \
        --passes "${BENCH_PASSES:-1}" > "$out/bench.log" 2>&1
}

# Starts MPS where it is wanted and there, and lets one small case show that it works.
mps_start() {
    mps=no
    [ "${MPS:-auto}" != no ] && [[ $device == cuda* ]] || return 0
    if ! command -v nvidia-cuda-mps-control > /dev/null; then
        [ "${MPS:-auto}" = auto ] || echo "MPS: nvidia-cuda-mps-control is not installed" >> "$out/study.log"
        return 0
    fi
    mkdir -p "$work/mps" "$work/mps-log"
    export CUDA_MPS_PIPE_DIRECTORY=$work/mps CUDA_MPS_LOG_DIRECTORY=$work/mps-log
    local case="sample shape=4x192/4096 batch=256 prompt=6 new=24 device=$device precision=f32 budget=0.2"
    if timeout 10 nvidia-cuda-mps-control -d && echo "$case" | timeout 40 "$work/program" measure - | grep -q '"seconds"'; then
        mps=yes
    else
        mps_stop
    fi 2>> "$out/study.log"
}

mps_stop() {
    echo quit | timeout 10 nvidia-cuda-mps-control > /dev/null 2>&1
    unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
}

study() {
    local results=$work/results/${PRESET:-gpu} code
    mkdir -p "$results"
    : > "$out/study.log"
    mps_start
    echo "MPS: $mps" | tee -a "$out/times.txt"
    # TERM is what Ctrl-C is, and also reaches a program that was started in the background.
    # shellcheck disable=SC2086 # several arguments
    timeout -s TERM -k 10 "$STUDY_SECONDS" "$work/program" imdb-frontier --preset "${PRESET:-gpu}" --data "$data" \
        --device "$device" --jobs "${JOBS:-4}" --out "$results" ${STUDY_ARGS:-} >> "$out/study.log" 2>&1
    code=$?
    [ "$mps" = no ] || mps_stop
    took study "$code" "$1"
    if [ "$code" != 0 ]; then
        echo "ended with $code; the report is of what is finished" >> "$out/study.log"
        # What was killed may still be letting go of its folder.
        sleep 1
        timeout -k 5 60 "$work/program" gather "$results" >> "$out/study.log" 2>&1
    fi
    # Without the models and pairs of the stages, but with what they and the runs say of themselves.
    (cd "$work/results" && find . -type f ! -path '*/cache/*' -o -name done.json -o -path '*/cache/runs/*.log' -o -name plan.json |
        tar -czf "$out/study.tar.gz" -T -)
    return "$code"
}

: > "$out/times.txt"
cd "$work" || exit 2
unpack
code=$?
took unpack "$code" "$begun"
[ "$code" = 0 ] || exit 1
case $device in
    cuda*)
        CUDA_PATH=$(toolkit)
        export CUDA_PATH
        [ -n "$CUDA_PATH" ] || unset CUDA_PATH
        echo "CUDA_PATH=${CUDA_PATH:-}" | tee -a "$out/times.txt"
        ;;
esac
echo "reviews: $data" | tee -a "$out/times.txt"

DEVICES_SECONDS=${DEVICES_SECONDS:-90} BENCH_SECONDS=${BENCH_SECONDS:-150} STUDY_SECONDS=${STUDY_SECONDS:-900}
if [ "$DEVICES_SECONDS" -gt 0 ]; then
    start=$SECONDS
    devices
    took devices $? "$start"
fi
if [ "$BENCH_SECONDS" -gt 0 ]; then
    start=$SECONDS
    bench
    took bench $? "$start"
fi
if [ "$STUDY_SECONDS" -gt 0 ]; then
    start=$SECONDS
    study "$start"
    took report $? "$start"
fi
took all 0 "$begun"
