#!/usr/bin/env bash
# The whole program with adapters on a base from another run: SFT, alignment from a branch,
# evaluation; which runs are others; grids; stopping; what validate refuses.
set -u
. tests/shell.sh
export SOURCE_DATE_EPOCH=0
export OMPI_MCA_btl_vader_single_copy_mechanism=none
# on RANKS ROWS COLS COMMAND DIR ARGS…: leaves status, out, err
on() {
    local ranks=$1 rows=$2 cols=$3 command=$4 dir=$5
    shift 5
    timeout -k 5 120 "$MPIRUN" -n "$ranks" "$R" "$command" tests/inputs/mini.json --set "run.dir=$T/$dir" \
        --set "grid.rows=$rows" --set "grid.cols=$cols" --set eval.problems=2 "$@" >"$T/out" 2>"$T/err"
    status=$?
    [ $status = 0 ] || sed 's/^/# /' "$T/err" | grep redistill
}
adapted() { # RANKS ROWS COLS DIR KIND ARGS…
    local dir=$4 kind=$5 where="$1 $2 $3"
    shift 5
    on $where run "$dir" --set "model.base=$base" --set "sft.adapter.kind=$kind" --set sft.tokens=8000 "$@"
}
difference() { grep -c 'adapter merged: largest logit difference [0-9.]*e-0[5-9] over' "$T/out"; }
same_arrays() { h5diff -q "$T/$1" "$T/$2" /weights /weights && h5diff -q "$T/$1" "$T/$2" /adapter /adapter; }
losses() { h5diff -p 1e-3 "$T/$1/arms/$2/metrics.h5" "$T/$3/arms/$2/metrics.h5" "/$4/loss" "/$4/loss" >"$T/diff" 2>&1 && [ ! -s "$T/diff" ]; }

on 1 1 1 run base
ok $status "a base"
base=$T/base/arms/redis-sft/checkpoints/sft-final.h5

for kind in lora dora pissa olora; do
    cp -r "$T/base" "$T/$kind" && rm -rf "$T/$kind/arms"
    adapted 1 1 1 "$kind" $kind
    ok $status "$kind: SFT of two arms, alignment from a branch, evaluation"
    [ "$(difference)" = 3 ]
    ok $? "$kind: each merged with hardly a difference in the logits"
    "$R" inspect "$T/$kind/arms/redis/checkpoints/align-final.h5" >"$T/out"
    grep -q 'adapter/base_model.model.model.layers.1.mlp.up_proj.lora_B.weight' "$T/out"
    ok $? "$kind: the adapter is in the file"
done

adapted 1 1 1 lora lora
[ "$(grep -c 'already done' "$T/out")" = 3 ]
ok $? "the same command finds all of it done"
adapted 1 1 1 lora lora --set sft.adapter.alpha=8
[ $status = 0 ] && [ "$(grep -c 'already done' "$T/out")" = 0 ]
ok $? "another scale is another run"
first=$base
base=$T/base/arms/redis/checkpoints/align-final.h5
adapted 1 1 1 lora lora --set sft.adapter.alpha=8
[ $status = 0 ] && [ "$(grep -c 'already done' "$T/out")" = 0 ]
ok $? "another base is another run"
base=$first

# ---- grids: losses agree; stopped and continued with the same bits
for run in "2 2 1 pissa" "2 1 2 dora" "4 2 1 lora"; do
    read -r ranks rows cols kind <<<"$run"
    g="$((ranks / rows / cols)) x $rows x $cols"
    adapted 1 1 1 one $kind
    adapted $ranks $rows $cols grid $kind
    ok $status "$kind on $g"
    losses one redis-sft grid sft && losses one redis grid align
    ok $? "$kind on $g: losses within 0.1 %"
    adapted $ranks $rows $cols parts $kind --max-hours 0.0002
    [ $status = 75 ] || [ $status = 0 ]
    ok $? "$kind on $g: asked to stop: status $status"
    adapted $ranks $rows $cols parts $kind
    ok $status "$kind on $g: continued"
    same_arrays grid/arms/redis-sft/checkpoints/sft-final.h5 parts/arms/redis-sft/checkpoints/sft-final.h5 &&
        same_arrays grid/arms/redis/checkpoints/align-final.h5 parts/arms/redis/checkpoints/align-final.h5
    ok $? "$kind on $g: to the same bits"
    rm -rf "$T/one" "$T/grid" "$T/parts"
done

# ---- refused
on 1 1 1 validate none --set sft.adapter.kind=pissa --set sft.adapter.rank=33
[ $status = 3 ] && grep -q 'mini.json: sft.adapter.rank: expected an integer in 1 ... 16, got 33' "$T/err"
ok $? "a rank that the matrices do not have"
on 1 1 1 run refused --set "model.base=$base" --set model.init.ffn=80
[ $status = 3 ] && grep -q 'model.base: .*another shape' "$T/err"
ok $? "a base of another shape"
on 2 1 1 run refused --set "model.base=$T/nowhere.h5"
[ $status = 3 ] && [ "$(grep -c '^redistill: error: ' "$T/err")" = 1 ]
ok $? "a base that is not there"
finish
