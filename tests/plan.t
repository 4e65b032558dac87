#!/usr/bin/env bash
# validate plans for grids that are not there, refuses what does not fit, suggests; calibrate measures.
set -u
. tests/shell.sh
export OMPI_MCA_btl_vader_single_copy_mechanism=none
run() { # ranks args…: leaves status, out, err
    local ranks=$1
    shift
    timeout -k 5 150 "$MPIRUN" -n "$ranks" "$R" "$@" >"$T/out" 2>"$T/err"
    status=$?
}
error_lines() { grep -c '^redistill: error: ' "$T/err"; }
json() { # perl expression on the plan $p and its first training $t
    perl -MJSON::PP -0777 -e 'my $p = decode_json(<STDIN>); my $t = $p->{training}[0]; exit !('"$1"')' <"$T/out"
}

# ---- a grid of 64 ranks, planned on one and on two
run 1 validate tests/inputs/mini.json --ranks 64 --set grid.rows=2 --set grid.cols=2
[ $status = 0 ] && grep -q 'grid data 16 x rows 2 x cols 2' "$T/out"
ok $? "a plan for 64 ranks on one"
grep -q '^ *linear layers ' "$T/out" && grep -q 'fastest grids of 64 ranks' "$T/out"
ok $? "with work and suggestions"
grep '^plan' "$T/out" >"$T/one"
run 2 validate tests/inputs/mini.json --ranks 64 --set grid.rows=2 --set grid.cols=2
[ $status = 0 ] && grep '^plan' "$T/out" | cmp -s - "$T/one"
ok $? "the same on two"
run 1 validate tests/inputs/mini.json --set grid.data=3 --set grid.rows=2
[ $status = 0 ] && grep -q 'grid data 3 x rows 2 x cols 1' "$T/out"
ok $? "the keys alone say how many ranks, where no job does"
run 1 validate tests/inputs/mini.json --ranks 6 --set grid.rows=4
[ $status = 3 ] && [ "$(error_lines)" = 1 ] && grep -q 'grid.rows' "$T/err"
ok $? "six ranks are not replicas of four: status $status"

# ---- JSON
run 1 validate tests/inputs/mini.json --ranks 8 --json
[ $status = 0 ] && json '$p->{ranks} == 8 && @{$p->{training}} == 3 && $t->{fits} && $p->{config}{run}'
ok $? "--json is one JSON object"
json '$t->{bytes_per_rank}{total} > $t->{bytes_per_rank}{weights} && $t->{seconds_per_step} > 0
    && $t->{words_sent_per_step} > 0 && $t->{hours} > 0 && @{$t->{fastest}} == 3
    && $t->{fastest}[0]{seconds_per_step} <= $t->{fastest}[1]{seconds_per_step}'
ok $? "with memory, time, words and the best grids"

# ---- what does not fit
perl -pe 's/"bytes_per_node": *[0-9.e+]+/"bytes_per_node": 32e6/; s/"(ranks|cores)_per_node": *\d+/"$1_per_node": 1/; s/"bytes_of_program": *[0-9.e+]+/"bytes_of_program": 1e6/' \
    inputs/machines/example-node.json >"$T/small.json"
big="--set model.init.width=512 --set model.init.layers=6 --set grid.products=pblas" # panels take 40 MB
run 1 validate tests/inputs/mini.json --ranks 64 --machine "$T/small.json" $big
[ $status = 3 ] && [ "$(error_lines)" = 1 ] && grep -q 'DOES NOT FIT' "$T/out"
ok $? "a model without room is refused: $(grep -o 'needs .*' "$T/err")"
grep -q 'the smallest replica that fits is of [0-9]* ranks' "$T/err"
ok $? "naming the smallest replica that would do"
grid=$(sed -n 's/.*fastest grid data \([0-9]*\) x rows \([0-9]*\) x cols \([0-9]*\).*/--set grid.data=\1 --set grid.rows=\2 --set grid.cols=\3/p' "$T/err")
run 1 validate tests/inputs/mini.json --ranks 64 --machine "$T/small.json" $big $grid
[ $status = 0 ] && grep -q 'as configured' "$T/out"
ok $? "and that one fits: ${grid//--set grid./}"
run 1 validate tests/inputs/mini.json --ranks 1 --machine "$T/small.json" $big
[ $status = 3 ] && grep -q 'no grid of 1 rank would do, one of [0-9]* in replicas of' "$T/err"
ok $? "or how many ranks would: $(grep -o 'one of .*' "$T/err")"

# ---- machine files
sed 's/"product"/"produce"/' inputs/machines/example-node.json >"$T/bad.json"
run 1 validate tests/inputs/mini.json --machine "$T/bad.json"
[ $status = 3 ] && grep -q 'bad.json: product.flops_per_second is missing' "$T/err"
ok $? "a machine file with a hole"
run 1 run tests/inputs/mini.json --machine "$T/small.json" --set "run.dir=$T/none"
[ $status = 2 ]
ok $? "--machine is validate's alone"
run 2 calibrate "$T/machine.json"
[ $status = 0 ] && perl -MJSON::PP -0777 -e 'my $m = decode_json(<STDIN>);
    exit !($m->{measured} && $m->{ranks_per_node} == 2 && $m->{product}{flops_per_second} > 1e8
        && $m->{inside_node_is} eq "measured" && $m->{between_nodes_is} eq "assumed")' <"$T/machine.json"
ok $? "calibrate measures"
[ "$(ls "$T" | grep -c calibration)" = 0 ]
ok $? "and leaves nothing but its file"
run 1 validate tests/inputs/mini.json --machine "$T/machine.json" --ranks 2
[ $status = 0 ] && grep -q '(measured)' "$T/out"
ok $? "which validate takes"
run 2 calibrate "$T/no-such-folder/machine.json"
[ $status = 4 ] && [ "$(error_lines)" = 1 ]
ok $? "a folder that is not there: status $status"

# ---- the examples of the README
run 1 validate inputs/plan-70b.json --ranks 131072 --json
[ $status = 3 ] && json '$t->{fastest}[0]{fits} && $t->{fastest}[0]{bytes_per_rank} < 4e9'
ok $? "70 B on 131,072 ranks"
finish
