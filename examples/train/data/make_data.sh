#!/usr/bin/env bash
# Make the shipped students' training data and their test set; killed and run again, it goes on where it was.
#
#   examples/train/data/make_data.sh [OUT] [PROCESSES]
#
# About two core-hours. OUT/organic.h5 is what the students learn from, OUT/test_scaffolds.h5 what they are judged by.
#
# molecules.smi.gz    9,014 drug-like molecules (MOSES train, NCI sample) and solvents, neutral, of H C N O F P S Cl
# extra.smi           1,236 where those are thin: phosphorus, sulphur, up to four heavy atoms, zwitterions, amino acids
# pairs.extxyz        every pair of the eight elements, two atoms alone: with extra.smi, the starts of collisions
# test_scaffolds.smi  400 of MOSES test_scaffolds, drawn at random; no scaffold of theirs is in the other two lists
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-data}
processes=${2:-1}
mkdir -p "$out"

make() { # name, recipe, starts, more settings
    local name=$1 recipe=$2 starts=$3
    shift 3
    [ -e "$out/$name.h5" ] || mlff data generate "$here/$starts" "$out/$name.h5" --teacher so3lr \
        --config "$here/$recipe.toml" --processes "$processes" "$@"
}
make test_scaffolds recipe test_scaffolds.smi
make molecules recipe molecules.smi.gz --seed 13
make extra recipe extra.smi --seed 12 --set conformers=3
make collisions collisions extra.smi
make pairs collisions pairs.extxyz --set kinds.collision.n=80 \
    --set kinds.collision.contact_min=0.2 --set kinds.collision.contact_max=2.0
[ -e "$out/organic.h5" ] ||
    mlff data merge "$out/molecules.h5" "$out/extra.h5" "$out/pairs.h5" "$out/collisions.h5" -o "$out/organic.h5"
