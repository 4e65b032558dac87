#!/usr/bin/env bash
# The whole program on data x rows x cols grids, for a model that nothing divides (9 heads in 3
# groups, an odd vocabulary; with biases and scaled RoPE): the same data, the same losses, the same
# greedy answers, and failures of one rank that end in order.
set -u
. tests/shell.sh
export SOURCE_DATE_EPOCH=0
export OMPI_MCA_btl_vader_single_copy_mechanism=none
uneven="--set align.optimizer=adamw --set model.init.heads=9
    --set model.init.kv_heads=3 --set model.init.head_size=6 --set model.init.width=50
    --set model.init.ffn=83 --set model.init.qkv_bias=true --set model.init.rope_factor=4
    --set model.init.rope_original_context=200 --set model.tokenizer.train_vocab=391
    --set sft.tokens=8000 --set align.tokens=4000 --set sft.checkpoint_every=0 --set eval.problems=3
    --set align.shard_optimizer=true --set eval.rule_temperature=0 --set eval.follow_temperature=0 --set eval.vote_temperature=0"
# on RANKS ROWS COLS COMMAND DIR ARGS…: leaves status, seconds, out, err
on() {
    local ranks=$1 rows=$2 cols=$3 command=$4 dir=$5 start=$SECONDS
    shift 5
    timeout -k 5 120 "$MPIRUN" -n "$ranks" "$R" "$command" tests/inputs/mini.json --set "run.dir=$T/$dir" \
        --set "grid.rows=$rows" --set "grid.cols=$cols" $uneven "$@" >"$T/out" 2>"$T/err"
    status=$?
    seconds=$((SECONDS - start))
    [ $status = 0 ] || sed 's/^/# /' "$T/err" | grep redistill
}
error_lines() { grep -c '^redistill: error: ' "$T/err"; }
fails_well() { # wanted-status what
    [ "$status" = "$1" ] && [ "$(error_lines)" = 1 ] && [ "$seconds" -le 60 ]
    ok $? "$2: status $status, $(error_lines) line, $seconds s"
}
# Tables, not files: the configuration, which names the grid, is an attribute of the root.
same() { # file other-file tables…
    local a=$1 b=$2 t
    shift 2
    for t in "$@"; do h5diff -q "$a" "$b" "/$t" "/$t" >/dev/null 2>&1 || return 1; done
}
close() { # arm stage dir: losses within 1e-4
    local file=arms/$1/metrics.h5
    h5diff -p 1e-4 "$T/whole/$file" "$T/$3/$file" "/$2/loss" "/$2/loss" >"$T/diff" 2>&1 && [ ! -s "$T/diff" ]
}
answers="problem hypothesis answer spent text"

on 1 1 1 run whole
ok $status "one rank"
"$R" inspect "$T/whole/arms/redis/checkpoints/align-final.h5" >"$T/out" 2>/dev/null &&
    grep -q 'self_attn.k_proj.bias' "$T/out" && grep -q 'model_rope_factor' "$T/out"
ok $? "the model has biases and scaled RoPE"
for grid in "2 2 1" "2 1 2" "4 2 2" "3 3 1" "3 1 3" "4 2 1"; do
    read -r ranks rows cols <<<"$grid"
    g="$((ranks / rows / cols)) x $rows x $cols"
    on $grid run grid
    ok $status "$g: all stages"
    same "$T/whole/traces.h5" "$T/grid/traces.h5" task example hypothesis application text &&
        same "$T/whole/datasets.h5" "$T/grid/datasets.h5" sft pair report text
    ok $? "$g: the same traces and datasets"
    close imitation sft grid && close redis-sft sft grid && close redis align grid
    ok $? "$g: losses within 1e-4"
    perl -MJSON::PP -0777 -e '
        sub results { my ($f) = @_; local @ARGV = $f; @{decode_json(<>)->{results}} }
        my @a = results($ARGV[0]), my @b = results($ARGV[1]);
        exit 1 if @a != @b || !@a;
        abs($a[$_]{accuracy} - $b[$_]{accuracy}) * $a[$_]{queries} < 1.5 or exit 1 for 0 .. $#a;
    ' "$T/whole/report.json" "$T/grid/report.json"
    ok $? "$g: the results differ by one answer at most"
    # The same weights, so greedy answers are the same words.
    rm -rf "$T/grid" && cp -r "$T/whole" "$T/grid" && rm "$T"/grid/arms/*/predictions.h5
    on $grid eval grid
    good=$status
    for arm in imitation redis-sft redis; do
        same "$T/whole/arms/$arm/predictions.h5" "$T/grid/arms/$arm/predictions.h5" $answers || good=1
    done
    ok $good "$g: the same greedy answers from the same weights"
    rm -rf "$T/grid"
done

# ---- a grid's runs have their own bits, twice the same, wherever they are broken off
on 2 1 2 run first
on 2 1 2 run second --max-hours 0.0002
[ $status = 75 ] || [ $status = 0 ]
ok $? "1 x 1 x 2: asked to stop: status $status"
on 2 1 2 run second
ok $status "1 x 1 x 2: continued"
arrays() { h5diff -q "$T/first/$1" "$T/second/$1" /weights /weights; }
arrays arms/redis-sft/checkpoints/sft-final.h5 && arrays arms/redis/checkpoints/align-final.h5
ok $? "1 x 1 x 2: to the same weights, bit for bit"

# ---- more grid rows than key-value heads
on 3 3 1 run wide --set model.init.kv_heads=1
ok $status "three grid rows for one key-value head"

# ---- one rank fails
for fault in "2 2 1 augment:1" "2 2 1 filter:1" "2 1 2 sft:1" "4 2 2 sft:3" "4 2 2 align:2" "4 2 1 eval:2" \
    "4 2 2 eval:3" "2 2 1 eval:0" "2 2 1 checkpoint:1" "4 2 2 store:1"; do
    read -r ranks rows cols site <<<"$fault"
    rm -rf "$T/fault" && mkdir "$T/fault"
    case $site in align* | eval*) cp -r "$T/whole/." "$T/fault" && rm -rf "$T"/fault/arms/*/predictions.h5 "$T"/fault/arms/redis/checkpoints ;; esac
    on $ranks $rows $cols run fault --fault "$site" >"$T/log"
    fails_well 7 "$((ranks / rows / cols)) x $rows x $cols: fault at $site"
done
on 4 2 1 run fault
ok $status "and the run goes on after the last of them"

# ---- grids that the ranks do not fill
on 4 3 1 validate none
fails_well 3 "four ranks, three grid rows"
grep -q 'mini.json: grid.rows, grid.cols: ' "$T/err"
ok $? "names file and keys"
on 2 2 1 validate none --set grid.data=2
fails_well 3 "two ranks, two replicas of two"
finish
