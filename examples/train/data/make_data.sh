#!/usr/bin/env bash
# Make the training data and the test sets of the shipped students. If the script is killed, run it again: it continues.
#
#   examples/train/data/make_data.sh [OUT] [PROCESSES] [LIMIT] [MOVER]
#
# It takes about six core-hours. LIMIT, the largest number of starts of each kind, makes a test of minutes ("" for all). OUT/organic.h5
# and OUT/nonbonded.h5 are the training data, OUT/test_scaffolds.h5 and OUT/test_liquids.h5 the test sets.
#
# The dynamics of bound pairs, of complexes of ions and of boxes of liquids are run with a student, since the teacher is too slow, and labelled
# by the teacher. MOVER is this student: a file or the name of a model. It must take ions. Without it
# first_student.sh trains one on the structures labelled so far, so no student is needed to begin. A short test needs MOVER, since a student trained on a few
# molecules is not stable in a liquid.
#
# molecules.smi.gz    9,013 drug-like molecules (MOSES train, NCI sample) and solvents, neutral, of H C N O F P S Cl
# extra.smi           1,233 where those are thin: phosphorus, sulphur, up to four heavy atoms, zwitterions, amino acids
# ions.smi            506 ions and zwitterions of 28 families, from ammonium and acetate to nucleotides
# drug_ions.smi.gz    4,495 protonation states of 4,000 molecules of these lists, made by ionize.py
# contacts.smi        148 small molecules, two of them beside each other; those of the S66 set are among them
# turnable.smi        117 more small molecules with a bond that can turn; none is in the tests of barriers
# pairs.extxyz        every pair of the eight elements, two atoms alone: with extra.smi, the starts of collisions
# binders.smi         93 that bind each other: acids, amides, nucleobases, alcohols, amines, aromatics, a few alkanes
# liquids.smi         27 liquids and five mixtures with water, each with its density
# test_liquids.smi    other boxes of water, and eleven liquids that are in no other list of liquids
# test_ions.smi       111 ions in no other list, 67 of them of the molecules in test_scaffolds.smi
# test_scaffolds.smi  400 of MOSES test_scaffolds, drawn at random; no scaffold of theirs is in the other lists
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-data}
processes=${2:-1}
limit=${3:-}
mover=${4:-}
if [ -n "$limit" ] && [ -z "$mover" ]; then
    echo "make_data.sh: a rehearsal needs MOVER, the student that moves pairs and liquids: $0 $out $processes $limit $here/../0.2/so_far/organic-tiny.pt" >&2
    exit 2
fi
mkdir -p "$out"

make() { # name, recipe, starts, more settings
    local name=$1 recipe=$2 starts=$3 teacher=${teacher:-so3lr}
    shift 3
    [ -e "$starts" ] || starts=$here/$starts
    [ -e "$out/$name.h5" ] || mlff data generate "$starts" "$out/$name.h5" --teacher "$teacher" \
        --config "$here/$recipe.toml" --processes "$processes" ${limit:+--limit "$limit"} "$@"
}
make test_scaffolds recipe test_scaffolds.smi
make molecules recipe molecules.smi.gz --seed 13
make extra recipe extra.smi --seed 12 --set conformers=3
make test_ions ions test_ions.smi --seed 71 --set conformers=2
make ions ions ions.smi
make drug_ions ions drug_ions.smi.gz --seed 73 --set conformers=2
# Ions among themselves, in solvent and beside small molecules: SO3LR spreads their charge over all molecules.
[ -e "$out/complexes.smi" ] ||
    cat "$here"/{ions,contacts}.smi | shuf --random-source=<(yes) > "$out/complexes.smi"
teacher=fragments make complexes complexes "$out/complexes.smi"
# Whatever is between molecules comes from GFN2-xTB, which is closer to CCSD(T) there than SO3LR.
teacher=fragments make contacts contacts contacts.smi
[ -e "$out/contacts.extxyz" ] || mlff data convert "$out/contacts.h5" "$out/contacts.extxyz"
[ -e "$out/starts.extxyz" ] ||
    python "$here/pick_starts.py" "$out/contacts.extxyz" "$out/starts.extxyz" 1200 34
teacher=fragments make contacts_near contacts_near "$out/contacts.extxyz"
teacher=fragments make contacts_bound contacts_bound "$out/starts.extxyz"
[ -e "$out/clashes.smi" ] || { gunzip -c "$here/molecules.smi.gz" | awk 'NR % 9 == 1' && awk 'NR % 2 == 1' "$here/extra.smi"; } > "$out/clashes.smi"
make clashes clashes "$out/clashes.smi"
make collisions collisions extra.smi
# Many light atoms come closer than the teacher accepts.
make pairs collisions pairs.extxyz --set max_failed_share=1 --set kinds.collision.n=80 \
    --set kinds.collision.contact_min=0.2 --set kinds.collision.contact_max=2.0
make pairs_near collisions pairs.extxyz --seed 31 --set kinds.collision.n=200 --set kinds.collision.weight=0.3 \
    --set kinds.collision.contact_min=0.6 --set kinds.collision.contact_max=1.2
for name in collisions pairs pairs_near; do
    [ -e "$out/${name}_kept.h5" ] || python "$here/without_wells.py" "$out/$name.h5" "$out/${name}_kept.h5"
done
if [ -z "$mover" ]; then
    "$here/first_student.sh" "$out"
    mover=$out/first/model.pt
fi
[ -e "$out/apart.extxyz" ] ||
    python "$here/bound_pairs.py" "$mover" "$here/contacts.smi" "$out/bound.extxyz" --pairs "${limit:-2500}" \
        --apart "$out/apart.extxyz"
teacher=fragments make bound near_minima "$out/bound.extxyz"
teacher=fragments make apart as_given "$out/apart.extxyz"
[ -e "$out/torsions.smi" ] ||
    python "$here/torsion_fragments.py" "$here"/{contacts.smi,extra.smi,molecules.smi.gz} -o "$out/torsions.smi" -n "${limit:-10000}" \
        --without "$here/../../../benchmarks/physics/molecules.smi" --without-scaffolds "$here/test_scaffolds.smi"
make torsions torsions "$out/torsions.smi"
make turnable torsions turnable.smi --seed 47 --set conformers=4 --set kinds.torsion.n=12
for name in torsions turnable; do
    [ -e "$out/$name.extxyz" ] || mlff data convert "$out/$name.h5" "$out/$name.extxyz"
done
[ -e "$out/turned.extxyz" ] ||
    python "$here/pick_starts.py" "$out"/{torsions,turnable,turned}.extxyz 9000 99 --kind torsion
make turned near_minima "$out/turned.extxyz" --seed 53
[ -e "$out/organic.h5" ] ||
    mlff data merge "$out"/{molecules,extra,pairs_kept,pairs_near_kept,collisions_kept}.h5 \
        "$out"/{contacts,contacts_near,contacts_bound,clashes,bound,apart,torsions,turnable,turned}.h5 -o "$out/organic.h5" \
        --weight "$out/bound.h5=3" --weight "$out/apart.h5=5" --weight "$out/torsions.h5=1.5" \
        --weight "$out/turnable.h5=4" --weight "$out/turned.h5=2"
label() { # name, teacher
    [ -e "$out/$1.h5" ] || mlff data label "$out/$1.extxyz" "$out/$1.h5" --teacher "${2:-so3lr}" --processes "$processes" \
        --set max_failed_share=1
}
# Complexes of ions as a student moves them: the contacts they prefer, deformed by each other.
[ -e "$out/moved.extxyz" ] || python "$here/moved.py" "$mover" "$out/complexes.h5" "$out/moved.extxyz"
label moved fragments
# The same with ions, for students that take them.
[ -e "$out/with_ions.h5" ] ||
    mlff data merge "$out"/{organic,ions,drug_ions,complexes,moved}.h5 -o "$out/with_ions.h5" \
        --weight "$out/complexes.h5=2" --weight "$out/moved.h5=2" --weight "$out/ions.h5=2"
liquids() { # name, boxes of each line, seed
    [ -e "$out/$1.extxyz" ] || python "$here/liquids.py" "$mover" "$here/$1.smi" "$out/$1.extxyz" \
        --boxes "$2" --seed "$3" ${limit:+--limit "$limit"}
    label "$1"
}
liquids liquids "${limit:-4}" 1
liquids test_liquids 1 2
# Frames of breaking molecules in the liquids of the model file STUDENT; none if no molecule breaks.
if [ -n "${STUDENT:-}" ] && [ ! -e "$out/breaking.extxyz" ]; then
    python "$here/liquids.py" "$STUDENT" "$here/liquids.smi" "$out/breaking.extxyz" \
        --breaking --boxes 2 --frames 12 --seed 3 ${limit:+--limit "$limit"}
fi
[ ! -s "$out/breaking.extxyz" ] || label breaking

pairs() { # part, molecules of the list, pairs, tries
    local part=$1
    [ -e "$out/binders_$part.smi" ] || head -n "$2" "$here/binders.smi" > "$out/binders_$part.smi"
    [ -e "$out/parted_$part.extxyz" ] ||
        python "$here/bound_pairs.py" "$mover" "$out/binders_$part.smi" "$out/binding_$part.extxyz" \
            --pairs "${limit:-$3}" --tries "$4" --seed "$part" --apart "$out/parted_$part.extxyz"
    label "binding_$part" fragments
    label "parted_$part" fragments
}
pairs 0 93 1400 6
pairs 1 93 1400 6
pairs 2 37 1400 10 # acids, amides, nucleobases and azoles come first in the list: two hydrogen bonds at once
pairs 3 93 900 10
weights=(--weight "$out/liquids.h5=2" --weight "$out/clashes.h5=3")
for name in "$out"/binding_?.h5 "$out"/parted_?.h5; do
    weights+=(--weight "$name=5")
done
breaking=()
if [ -e "$out/breaking.h5" ]; then
    breaking=("$out/breaking.h5")
    weights+=(--weight "$out/breaking.h5=10")
fi
# Clashes and isolated pairs again: with bound pairs only, a student forgets the repulsion of close atoms.
[ -e "$out/nonbonded.h5" ] ||
    mlff data merge "$out"/{liquids,clashes,pairs_near_kept}.h5 "${breaking[@]}" "$out"/binding_?.h5 "$out"/parted_?.h5 \
        -o "$out/nonbonded.h5" "${weights[@]}"
