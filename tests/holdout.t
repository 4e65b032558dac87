#!/usr/bin/env bash
# A run whose tests ask for unseen rules, unseen pairs of operations and unseen kinds: three rows of the
# table, and nothing of what is held out in the training rows.
set -u
. tests/shell.sh
entry='"family": "list_function", "difficulty": 0'
cat >"$T/h.json" <<EOS
{"run": {"name": "h", "seed": 4, "dir": "$T/run"}, "prompts": "$PWD/inputs/prompts/terse.json",
 "tasks": [{$entry, "generate": 80, "test": 4, "hypotheses": 12},
           {$entry, "test": 4, "holdout": "pair", "set": "unseen pairs"},
           {$entry, "test": 4, "holdout": "kind", "set": "unseen kinds"}],
 "teacher": {"skill": "perfect", "wordings": 1}, "filter": {"min_score": 0, "follow_min_score": 0, "gap": {"list_function": 1}},
 "model": {"init": {"layers": 1, "width": 32, "heads": 4, "kv_heads": 2, "ffn": 64}, "tokenizer": {"train_vocab": 400}},
 "sft": {"families": ["list_function"], "tokens": 2000, "batch_tokens": 1024, "max_len": 256}, "stages": ["augment", "filter", "sft", "eval", "report"],
 "eval": {"families": ["list_function"], "methods": ["io"], "max_answer_tokens": 12, "max_len": 256}}
EOS
run 2 run "$T/h.json"
ok $status "a run with three tests: $(tail -n 1 "$T/err")"
cp "$T/out" "$T/log"
grep -q 'dropped: [1-9][0-9]* rules of operations that are held out' "$T/log"
ok $? "the teacher spoke of what is held out"
for set in 'unseen pairs' 'unseen kinds'; do
    grep -q "$set: 4 test problems" "$T/out"
    ok $? "$set are rows of their own"
done
grep -q 'holdout rule: of 4 test tasks 0 share a rule class with training; all kinds of operations are known there of 4, all pairs of' "$T/run/report.txt"
ok $? "unseen rules are of known kinds"
grep -q 'holdout pair, unseen pairs: of 4 test tasks 0 share a rule class with training; all kinds of operations are known there of 4, all pairs of 0$' "$T/run/report.txt"
ok $? "unseen pairs are of known kinds"
grep -q 'holdout kind, unseen kinds: .* are known there of 0, ' "$T/run/report.txt"
ok $? "unseen kinds are unknown"
run 1 export --format llama-factory "$T/run" --to "$T/rows"
ok $? "the training rows as text"
sed -n 's/.*not trained on: .* kinds: //p' "$T/log" | tr ',' '\n' | sed 's/\.\.\..*//' >"$T/kinds"
[ "$(grep -c . "$T/kinds")" = 2 ]
ok $? "the log names the kinds: $(paste -sd ';' "$T/kinds")"
grep -q '"response\|"output' "$T"/rows/generate_rule_sft.json && ! grep -qiFf "$T/kinds" "$T"/rows/*.json
ok $? "no training row speaks of them"
[ $failed = 0 ] || cat "$T/err" "$T/run/report.txt" | sed 's/^/# /'
finish
