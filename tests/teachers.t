#!/usr/bin/env bash
# Teachers as a user sets them up: a checkpoint of another run, the student's own model, the record of a run.
set -u
. tests/shell.sh
export SOURCE_DATE_EPOCH=0 # files of equal runs are equal
says() { grep -q "$1" "$T/out" "$T/err"; ok $? "it says: $1"; }
# The tables of two files; the config among the attributes names other directories.
same() {
    for table in /task /example /hypothesis /application /text; do
        h5diff -q "$1" "$2" $table $table >/dev/null 2>&1 || return 1
    done
}
cp tests/inputs/teachers.json "$T/"
C=$T/teachers.json

run 1 run "$C" --set "run.dir=$T/first"
good "a run that trains a small model"
cp "$T/first/arms/redis/checkpoints/sft-final.h5" "$T/first/tokenizer.json" "$T/"

# ---- the model of that run teaches
model=(--set 'stages=["augment","filter"]' --set teacher.kind=model --set augment.hypotheses=3 --set teacher.max_tokens=16 --set teacher.slots=16)
for r in 1 2 4; do
    run $r run "$C" "${model[@]}" --set "run.dir=$T/m$r" --set "teacher.path=$T/first/arms/redis/checkpoints/sft-final.h5"
    good "a checkpoint teaches at $r ranks"
    [ $r = 1 ] || { same "$T/m1/traces.h5" "$T/m$r/traces.h5"; ok $? "the same traces as at 1"; }
done
run 2 run "$C" "${model[@]}" --set "run.dir=$T/g2" --set grid.rows=2 --set "teacher.path=$T/first/arms/redis/checkpoints/sft-final.h5"
good "and on a grid of 2 x 1"
run 2 run "$C" "${model[@]}" --set "run.dir=$T/m2" --set "teacher.path=$T/first/arms/redis/checkpoints/sft-final.h5"
good "the same command again"
grep -q 'million parameters' "$T/out"
[ $? = 1 ]; ok $? "finds itself done and loads nothing"
run 2 run "$C" "${model[@]}" --set "run.dir=$T/self" --set "model.base=$T/sft-final.h5" --set "teacher.tokenizer=$T/tokenizer.json"
good "the student's own model teaches"
same "$T/m1/traces.h5" "$T/self/traces.h5"
ok $? "and says the same"

# ---- and searches the test problems itself
sed 's/"augment": /"arms": {"none": {"stages": []}}, "augment": /' "$C" >"$T/alone.json"
own=(run "$T/alone.json" "${model[@]}" --set 'stages=["eval","report"]' --set eval.teacher=true --set 'eval.hypotheses=[1,3]'
    --set "teacher.path=$T/first/arms/redis/checkpoints/sft-final.h5")
for r in 1 2; do
    run $r "${own[@]}" --set "run.dir=$T/own$r"
    good "a model's own accuracy at $r ranks: $(grep -m 1 '^  teacher' "$T/out")"
done
run 2 "${own[@]}" --set "run.dir=$T/own3" --set grid.rows=2
good "and on a grid of 2 x 1"
for r in 2 3; do
    h5diff -q "$T/own1/teacher/predictions.h5" "$T/own$r/teacher/predictions.h5" /answer /answer >/dev/null 2>&1 &&
        same "$T/own1/teacher/traces.h5" "$T/own$r/teacher/traces.h5"
    ok $? "the same answers"
done

# ---- what is not there
run 2 run "$C" "${model[@]}" --set "run.dir=$T/x"
[ $status = 3 ]; ok $? "no model: status $status"
says 'teacher.path: the kind model needs a model'
run 1 validate "$C" "${model[@]}" --set "teacher.path=$T/sft-final.h5" --set "run.dir=$T/x"
[ $status = 3 ]; ok $? "a checkpoint far from its tokenizer: status $status"
says 'tokenizer.json'
run 2 run "$C" "${model[@]}" --set "teacher.path=$T/nothing.h5" --set "run.dir=$T/x"
[ $status = 3 ]; ok $? "no such checkpoint: status $status"
[ "$(grep -c '^redistill: error: ' "$T/err")" = 1 ]; ok $? "one line"

# ---- the record of that run
run 2 run "$C" --set 'stages=["augment","filter"]' --set teacher.kind=replay --set "teacher.path=$T/m1" --set augment.hypotheses=3 \
    --set "run.dir=$T/again"
good "its record is replayed"
same "$T/m1/traces.h5" "$T/again/traces.h5"
ok $? "the same traces again"
run 2 run "$C" --set teacher.kind=replay --set "teacher.path=$T/m1" --set "run.dir=$T/x"
[ $status = 3 ]; ok $? "fewer rules than are asked for: status $status"
says 'fewer rules than are asked for'
finish
