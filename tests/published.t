#!/usr/bin/env bash
# Models in and out of the whole program: a run's model exported as a Hugging Face folder and taken
# as the base of another run, untuned and under an adapter; its adapter out and in; what is refused.
set -u
. tests/shell.sh
export SOURCE_DATE_EPOCH=0
export OMPI_MCA_btl_vader_single_copy_mechanism=none
# with RANKS ARGS…: leaves status, out, err
with() {
    local ranks=$1
    shift
    timeout -k 5 120 "$MPIRUN" -n "$ranks" "$R" "$@" >"$T/out" 2>"$T/err"
    status=$?
}
run() {
    with "$@"
    [ $status = 0 ] || sed 's/^/# /' "$T/err" | grep redistill
}
says() { grep -q "^redistill: error: .*$1" "$T/err"; }
# logits of a model on RANKS ranks into FILE
logits() {
    local ranks=$1 file=$2
    shift 2
    run "$ranks" logits "$@" --tokens "$T/tokens" --to "$T/z/$file"
}
# The largest difference of two files of float32 is at most so much.
close() { # FILE FILE BOUND
    paste <(od -An -v -t f4 -w4 "$T/z/$1") <(od -An -v -t f4 -w4 "$T/z/$2") |
        awk -v bound="$3" '{d = $1 - $2; if (d < 0) d = -d; if (!(d <= bound)) bad = 1; rows++}
            END {exit bad || rows == 0}'
}
mkdir "$T/z"
echo 5 17 3 250 99 42 7 7 301 12 >"$T/tokens"

small=(--set run.dir="$T/first" --set arms.imitation.stages='["sft"]' --set arms.redis-sft.stages='["sft"]' --set arms.redis.stages='["align"]')
run 1 run tests/inputs/mini.json "${small[@]}"
ok $status "a run"
first=$T/first/arms/redis/checkpoints/align-final.h5
logits 1 first "$first"
ok $status "logits of a checkpoint"
logits 2 first2 "$first"
close first first2 1e-4
ok $? "on two ranks the same to rounding"

run 1 export tests/inputs/mini.json "${small[@]}" --to "$T/folder"
ok $status "the last arm exported"
logits 1 folder "$T/folder"
cmp -s "$T/z/first" "$T/z/folder"
ok $? "the same logits from the folder, bit for bit"
run 2 export "$first" --to "$T/folder2" --shard-gb 1e-4
[ -f "$T/folder2/model.safetensors.index.json" ] && cmp -s "$T/folder/config.json" "$T/folder2/config.json"
ok $? "by the checkpoint's name, on two ranks, in several files"
cmp -s "$T/first/tokenizer.json" "$T/folder2/tokenizer.json"
ok $? "with the run's tokenizer"
run 1 import "$T/folder2" --to "$T/back.h5"
logits 1 back "$T/back.h5"
cmp -s "$T/z/first" "$T/z/back"
ok $? "and back into a checkpoint"
run 1 export "$T/folder" --to "$T/half" --dtype bf16
logits 1 half "$T/half"
close first half 0.2 && ! close first half 0
ok $? "in bfloat16 they are near"

cat >"$T/second.json" <<EOC
{
  "run": {"dir": "$T/second", "seed": 4},
  "prompts": "$PWD/inputs/prompts/terse.json",
  "tasks": [{"family": "list_function", "difficulty": 0, "known_rule": true, "generate": 20, "test": 4}],
  "augment": {"hypotheses": 6},
  "model": {"base": "folder", "chat": "none"},
  "sft": {"families": ["list_function"], "tokens": 6000, "batch_tokens": 1000, "micro_tokens": 500, "max_len": 256, "lr": 1e-2,
          "adapter": {"kind": "pissa", "rank": 2, "alpha": 4}},
  "align": {"tokens": 2000, "batch_tokens": 1000, "micro_tokens": 500, "max_len": 256, "lr": 1e-3},
  "eval": {"families": ["list_function"], "methods": ["io", "search"], "hypotheses": [1, 3], "max_rule_tokens": 24,
           "max_answer_tokens": 24, "max_len": 256},
  "arms": {"base": {"stages": ["eval"]}, "tuned": {"stages": ["sft", "eval"]}, "redis": {"from": "tuned", "stages": ["align", "eval"]}}
}
EOC
run 1 validate "$T/second.json"
grep -q 'tuned sft: 0.0[0-9]* M parameters, frozen, adapters of rank 2' "$T/out" && [ ! -e "$T/second" ]
ok $? "a run from the folder is planned"
run 2 run "$T/second.json"
ok $status "and made"
grep -Eq '^ *base +search +3 ' "$T/out" && grep -Eq '^ *base +io ' "$T/out"
ok $? "the base is evaluated untuned"
tuned=$T/second/arms/tuned/checkpoints/sft-final.h5
redis=$T/second/arms/redis/checkpoints/align-final.h5
! h5ls -r "$tuned" | grep -q '^/weights' && h5ls -r "$redis" | grep -q '^/adapter_start'
ok $? "files of adapters do not repeat the base"
run 1 run "$T/second.json"
[ "$(grep -c 'already done' "$T/out")" = 2 ]
ok $? "the same command finds it done"
cp -r "$T/folder" "$T/moved" && mv "$T/folder" "$T/gone"
run 1 run "$T/second.json" --set model.base=moved
[ "$(grep -c 'already done' "$T/out")" = 2 ]
ok $? "also when the base lies elsewhere"

for arm in tuned redis; do
    logits 1 $arm "$T/second.json" --arm $arm --set model.base=moved
    run 1 export --format peft "$T/second/arms/$arm/checkpoints/"*-final.h5 --base "$T/moved" --to "$T/peft-$arm"
    ok $status "$arm: its adapter exported"
    logits 1 again "$T/peft-$arm" --base "$T/moved"
    close $arm again 1e-4 && ! close $arm first 1e-2
    ok $? "$arm: over the base it gives the same logits, which are not the base's"
done
run 1 export "$T/second.json" --set model.base=moved --to "$T/merged"
logits 1 merged "$T/merged"
cmp -s "$T/z/redis" "$T/z/merged"
ok $? "the merged model exported"
cmp -s "$T/merged/tokenizer.json" "$T/moved/tokenizer.json"
ok $? "with the base's tokenizer"

# A published adapter: evaluated as it is, and gone on with.
third=(run 1 run "$T/second.json" --set model.base=moved --set run.dir="$T/third" --set sft.adapter.path=peft-tuned)
cp -r "$T/second" "$T/third" && rm -rf "$T/third/arms"
"${third[@]}"
ok $status "a run that is given an adapter"
logits 1 given "$T/second.json" --arm base --set model.base=moved --set sft.adapter.path=peft-tuned
close tuned given 1e-4
ok $? "the untuned arm has it"
still=(--set model.base=moved --set run.dir="$T/fourth" --set sft.adapter.path=peft-tuned --set sft.lr=0)
run 1 run "$T/second.json" "${still[@]}"
logits 1 kept "$T/second.json" --arm tuned "${still[@]}"
close tuned kept 1e-4
ok $? "SFT begins where it was"
"${third[@]}"
[ "$(grep -c 'already done' "$T/out")" = 2 ]
ok $? "the same command finds it done"
"${third[@]}" --set sft.adapter.path=peft-redis
[ $status = 0 ] && [ "$(grep -c 'already done' "$T/out")" = 0 ]
ok $? "another adapter is another run"

# One number of the base is another.
size=$(stat -c %s "$T/moved/model.safetensors")
printf '\x01' | dd of="$T/moved/model.safetensors" bs=1 seek=$((size - 2)) conv=notrunc status=none
with 1 logits "$redis" --base "$T/moved" --tokens "$T/tokens" --to "$T/other"
[ $status = 3 ] && says 'another model than the adapter was trained beside'
ok $? "an adapter is not put on another model"
run 1 run "$T/second.json" --set model.base=moved --set eval.problems=1
[ $status = 0 ] && [ "$(grep -c 'already done' "$T/out")" = 0 ]
ok $? "another base is another run"
mkdir -p "$T/second/arms/base/checkpoints" && cp "$tuned" "$T/second/arms/base/checkpoints/sft-final.h5"
with 1 eval "$T/second.json" --set model.base=moved
[ $status = 3 ] && says "its base would be evaluated"
ok $? "an arm that was trained is not taken for its base"
sed -i 's/"vocab_size": [0-9]*/"vocab_size": 77/' "$T/moved/config.json"
with 2 validate "$T/second.json" --set model.base=moved
[ $status = 3 ] && says "tensor 'model.embed_tokens.weight' is of shape"
ok $? "a folder that does not fit its description is refused before anything is made"
with 1 export "$T/merged"
[ $status = 2 ] && says 'to must be given'
ok $? "export without a place"
with 1 export --format peft "$T/merged" --to "$T/x"
[ $status = 3 ] && says 'holds no adapter'
ok $? "a model without an adapter"
with 1 logits "$T/peft-tuned" --tokens "$T/tokens" --to "$T/x"
[ $status = 2 ] && says 'base must name the model'
ok $? "an adapter without a model"
with 1 validate "$T/second.json" --base x
[ $status = 2 ]
ok $? "options of other commands"

finish
