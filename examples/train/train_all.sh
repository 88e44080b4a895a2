#!/usr/bin/env bash
# Train or resume the three shipped students one after the other, each within a time limit; run it again until all have finished.
#
#   examples/train/train_all.sh DATA MINUTES_EACH [OUT] [more settings, as in step=double-backward …]
#
# DATA is the folder that data/make_data.sh wrote: organic.h5 and nonbonded.h5 are taken from it. On a CPU let it
# run in the background; on a GPU with limited time choose the minutes so that the state is saved in time. A student
# that has finished is skipped.
set -euo pipefail

data=${1:?usage: train_all.sh DATA MINUTES_EACH [OUT] [KEY=VALUE ...]}
minutes=${2:?usage: train_all.sh DATA MINUTES_EACH [OUT] [KEY=VALUE ...]}
out=${3:-runs}
shift $(($# < 3 ? $# : 3))

here=$(cd "$(dirname "$0")" && pwd)
settings=()
for setting in "$@"; do
    settings+=(--set "$setting")
done
for student in ultra-tiny tiny original; do
    mlff train "$here/organic-$student.toml" --resume --out "$out/organic-$student" \
        --set "data.path='$data/organic.h5'" --set "data.replay='$data/nonbonded.h5'" \
        --set "stop.max_minutes=$minutes" "${settings[@]}"
done
