#!/usr/bin/env bash
# Runs with a chat template: a tokenizer from a file, all stages, and what is refused at once.
set -u
. tests/shell.sh
export SOURCE_DATE_EPOCH=0 # files of equal runs are equal
# run RANKS COMMAND ARGS…: leaves status, out, err
run() {
    local ranks=$1 command=$2
    shift 2
    timeout -k 5 150 "$MPIRUN" -n "$ranks" "$R" "$command" tests/inputs/mini.json --set "run.dir=$T/run" "$@" >"$T/out" 2>"$T/err"
    status=$?
}
refused() { # reason what: one line, nothing made
    [ $status = 3 ] && [ "$(grep -c '^redistill: error: ' "$T/err")" = 1 ] && grep -q "$1" "$T/err" && [ ! -e "$T/run" ]
    ok $? "$2: $(grep -m 1 '^redistill: error' "$T/err")"
}
long=(--set sft.max_len=512 --set align.max_len=512 --set eval.max_len=512 --set sft.tokens=6000 --set align.tokens=3000)
smol=(--set model.tokenizer.path="$PWD/tests/golden/tokenizers/smollm.gguf" "${long[@]}")

run 2 run --set model.chat=smollm2
refused 'model.chat: the tokenizer that is trained' "a template for a tokenizer of our own"
run 2 run --set model.system=Hello
refused 'model.system' "a system message without a template"
run 2 run "${smol[@]}" --set model.chat=llama3
refused 'model.chat: llama3 needs the special token <|begin_of_text|>' "a template of another family"
run 2 validate "${smol[@]}"
refused 'model.chat: the model has no chat template' "a published tokenizer without a template"

for r in 1 2; do
    run $r run "${smol[@]}" --set model.chat=smollm2
    [ $status = 0 ] && grep -q 'chat     redis: the template smollm2' "$T/out"
    ok $? "all stages with the template of SmolLM2, $r ranks"
    [ $status = 0 ] || sed 's/^/# /' "$T/err" | head -5
    [ $r = 2 ] || mv "$T/run" "$T/one"
done
h5diff -q "$T/one/arms/redis/checkpoints/align-final.h5" "$T/run/arms/redis/checkpoints/align-final.h5" >/dev/null 2>&1
ok $? "the same weights"
run 2 sft "${smol[@]}" --set model.chat=smollm2
[ "$(grep -c 'already done' "$T/out")" = 2 ]
ok $? "a finished stage is done"
run 2 sft "${smol[@]}" --set model.chat=smollm2 --set 'model.system=Be brief.'
[ $status = 0 ] && ! grep -q 'already done' "$T/out"
ok $? "with another system message it is another stage"

finish
