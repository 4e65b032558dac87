#!/usr/bin/env bash
# compat "official": from a record in the official code's files, the rows that a re-implementation of that code
# in Python makes of it (golden/make_official_golden.py), byte for byte, at 1, 2 and 3 ranks.
set -u
. tests/shell.sh
run() { # ranks args…: leaves status, out, err
    local ranks=$1
    shift
    timeout -k 5 120 "$MPIRUN" -n "$ranks" "$R" "$@" >"$T/out" 2>"$T/err"
    status=$?
}
says() { grep -q "$1" "$T/out" "$T/err"; ok $? "it says: $1"; }

mkdir "$T/data" && tar -xzf tests/golden/official.tar.gz -C "$T/data" && cp tests/inputs/official.json "$T/data/"
ok $? "the record is there"
C=$T/data/official.json
for r in 1 2 3; do # 3: ranks share families
    run $r run "$C" --set "run.dir=$T/run$r"
    ok $status "augment and filter at $r ranks"
    [ $status = 0 ] || sed 's/^/# /' "$T/err" | head -5
    run 1 export --format llama-factory "$T/run$r" --to "$T/rows$r"
    ok $status "export"
    for f in generate_rule_sft apply_rule_sft generate_rule_dpo generate_rule_kto; do
        cmp "$T/rows$r/$f.json" "$T/data/rows/$f.json" >"$T/cmp" 2>&1
        ok $? "$f.json at $r ranks is the official code's"
        [ -s "$T/cmp" ] && sed 's/^/# /' "$T/cmp"
    done
done

# ---- the exported sets as the record of another run: the same rules
run 2 run "$C" --set "run.dir=$T/again" --set "teacher.path=$T/rows1"
ok $status "the exported sets are replayed"
run 2 export --format llama-factory "$C" --set "run.dir=$T/again" --to "$T/rows-again"
ok $status "and exported, the run named by its config"
count() { grep -c '"instruction"' "$1/$2.json"; }
[ "$(count "$T/rows1" generate_rule_sft)" = "$(count "$T/rows-again" generate_rule_sft)" ]
ok $? "the rules are those of the record"

# ---- what the mode sets, and what it needs
run 1 validate "$C" --set filter.min_score=0.25
ok $status "validate"
says 'filter.dedup "family"'
says 'the config keeps: augment.hypotheses 8; filter.min_score 0.25;'
run 2 validate "$C" --set prompts=
[ $status = 3 ]; ok $? "the built-in prompts: status $status"
says 'prompts: compat "official" needs the official'
run 1 validate "$C" --set 'tasks[0].test_file=acre_test.jsonl'
[ $status = 3 ]; ok $? "a test file of something else: status $status"
run 1 validate "$C" --set 'tasks[2].test_file=list_function.jsonl'
[ $status = 3 ]; ok $? "a test file of another split: status $status"
grep -q 'tasks\[2\].test_file: its task .* is not that of the official split' "$T/err"; ok $? "it says which"
run 1 validate "$C" --set filter.worked=true
[ $status = 3 ]; ok $? "worked answers: status $status"

# ---- export, misused
run 2 export --format parquet "$T/run1" --to "$T/x"
[ $status = 2 ]; ok $? "a format that is not known: status $status"
run 2 export --format llama-factory "$T/nowhere" --to "$T/x"
[ $status = 3 ] && [ ! -e "$T/x" ]; ok $? "a run that is not there: status $status"
run 1 export "$T/run1"
[ $status = 2 ]; ok $? "without --to: status $status"
finish
