#!/usr/bin/env bash
# Peak memory per rank where weights dominate: training 57 M parameters with AdamW (weights,
# gradients, two moments, two partial sums of gradients: 24 bytes each; 512 tokens a step) on one
# rank and on a 2 x 2 grid.  A quarter and what does not shrink must stay below 0.35, by the
# program's own count and by the operating system's, which has libraries and MPI's buffers in it.
set -u
. tests/shell.sh
export OMPI_MCA_btl_vader_single_copy_mechanism=none
run() { # ranks command extra…
    local ranks=$1 command=$2
    shift 2
    timeout -k 5 150 "$MPIRUN" -n "$ranks" "$R" "$command" tests/inputs/memory.json --set "run.dir=$T/run" "$@" >"$T/out" 2>"$T/err"
}
run 1 augment && run 1 filter
ok $? "data"
peaks() { sed -n 's/^memory .*rank: \([0-9.]*\) MB of arrays, \([0-9.]*\) MB resident.*/\1 \2/p' "$T/out"; }
run 1 sft
ok $? "training on one rank"
read -r one one_resident <<<"$(peaks)"
rm -rf "$T/run/arms"
run 4 sft --set grid.rows=2 --set grid.cols=2
ok $? "training on 2 x 2"
read -r four four_resident <<<"$(peaks)"
within() { awk -v a="$2" -v b="$1" 'BEGIN { exit !(a > 0 && b > 100 && a / b <= 0.35) }'; }
ratio() { awk -v a="$2" -v b="$1" 'BEGIN { printf "%.3f (%s of %s MB)", a / b, a, b }'; }
within "$one" "$four"
ok $? "arrays: $(ratio "$one" "$four") of one rank's"
within "$one_resident" "$four_resident"
ok $? "resident, by the operating system's count: $(ratio "$one_resident" "$four_resident") of one rank's"
finish
