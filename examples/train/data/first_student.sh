#!/usr/bin/env bash
# Train the first student, which runs the dynamics of pairs and liquids for the other students' data; make_data.sh calls this.
#
#   examples/train/data/first_student.sh OUT [more settings, as in stop.budget_minutes=20 …]
#
# OUT is the folder of make_data.sh, with molecules, contacts, complexes of ions, clashes and collisions labelled by the teacher. The
# student is OUT/first/model.pt; a killed training continues when it is run again. 40 minutes on one core.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: first_student.sh OUT [KEY=VALUE ...]}
shift
settings=()
for setting in "$@"; do
    settings+=(--set "$setting")
done
[ -e "$out/first.h5" ] ||
    mlff data merge "$out"/{molecules,extra,pairs_kept,pairs_near_kept,collisions_kept}.h5 \
        "$out"/{contacts,contacts_near,contacts_bound,clashes,ions,complexes}.h5 -o "$out/first.h5"
mlff train "$here/first_student.toml" --resume --out "$out/first" --set "data.path='$out/first.h5'" "${settings[@]}"
