#!/usr/bin/env bash
# Train one of the next students: examples/train/0.2/train.sh NAME DATA.h5 [RUNS]
#
# NAME is organic-original, organic-tiny or organic-ultra-tiny. If the script is killed, run it again: it continues.
# A core of an AMD EPYC takes about 60 ms a step of the original student, 13 ms of the tiny and 8 ms of the ultra-tiny one.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
name=$1
data=$2
runs=${3:-runs}
case $name in
    organic-original) lr=0.002 steps=400000 ;;
    organic-tiny) lr=0.0025 steps=800000 ;;
    organic-ultra-tiny) lr=0.003 steps=1000000 ;;
    *)
        echo "train.sh: NAME must be organic-original, organic-tiny or organic-ultra-tiny, got $name" >&2
        exit 2
        ;;
esac
mkdir -p "$runs"
mlff train "$here/organic.toml" --resume --out "$runs/$name" --set "name='$name'" \
    --set "model.preset='${name#organic-}'" --set "data.path='$data'" --set "optimizer.lr=$lr" --set "stop.max_steps=$steps"
