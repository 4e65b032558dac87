#!/usr/bin/env bash
# The whole program as a user starts it: runs at 1, 2 and 4 ranks, repeats, stops, failures.
set -u
. tests/shell.sh
export SOURCE_DATE_EPOCH=0 # files of equal runs are equal
# run RANKS ARGS…: leaves status, seconds, out, err
run() {
    local ranks=$1 start=$SECONDS
    shift
    timeout -k 5 120 "$MPIRUN" -n "$ranks" "$R" "$@" >"$T/out" 2>"$T/err"
    status=$?
    seconds=$((SECONDS - start))
}
# A run in $T/DIR.  It happens in a directory of one name, which the files' config attribute holds.
mini() { # ranks dir extra…
    local ranks=$1 dir=$2
    shift 2
    [ ! -e "$T/$dir" ] || mv "$T/$dir" "$T/run"
    run "$ranks" run tests/inputs/mini.json --set "run.dir=$T/run" "$@"
    mv "$T/run" "$T/$dir" 2>/dev/null
}
error_lines() { grep -c '^redistill: error: ' "$T/err"; }
# One clear line, the wanted status, and nobody waits for ever: it takes a second or two (said in the
# line), but a loaded machine may be slow.
fails_well() { # wanted-status what
    [ "$status" = "$1" ] && [ "$(error_lines)" = 1 ] && [ "$seconds" -le 60 ]
    ok $? "$2: status $status, $(error_lines) line, $seconds s: $(grep -m 1 '^redistill: error' "$T/err")"
}
same() { h5diff -q "$1" "$2" >/dev/null 2>&1; }

# ---- the same run at 1, 2 and 4 ranks, and twice
for r in 1 2 4; do
    mini $r m$r
    ok $status "run at $r ranks"
    [ $status = 0 ] || { sed 's/^/# /' "$T/err" | head -5; }
done
grep -q 'list_function: 6 test problems' "$T/out"
ok $? "the table is printed"
mini 2 again
ok $status "the run again"
for r in 2 4; do
    same "$T/m1/traces.h5" "$T/m$r/traces.h5"
    ok $? "traces.h5 at $r ranks equals that at 1"
    same "$T/m1/datasets.h5" "$T/m$r/datasets.h5"
    ok $? "datasets.h5 at $r ranks equals that at 1"
    for arm in imitation redis-sft; do
        h5diff -p 1e-4 "$T/m1/arms/$arm/metrics.h5" "$T/m$r/arms/$arm/metrics.h5" /sft/loss /sft/loss >"$T/diff" 2>&1
        ok $? "$arm: losses at $r ranks agree with those at 1 to 1e-4"
    done
done
for f in arms/redis-sft/checkpoints/sft-final.h5 arms/redis/checkpoints/align-final.h5 \
    arms/redis/predictions.h5; do
    same "$T/m2/$f" "$T/again/$f"
    ok $? "twice at 2 ranks: $f has the same bits"
done
for table in sft/loss sft/grad_norm; do
    h5diff -q "$T/m2/arms/redis-sft/metrics.h5" "$T/again/arms/redis-sft/metrics.h5" /$table /$table
    ok $? "twice at 2 ranks: metrics $table have the same bits"
done
cp "$T/m2/report.json" "$T/report.before"
mini 2 m2
ok $status "a finished run finds itself done"
grep -q 'already done' "$T/out"
ok $? "and says so"

# ---- factors rounded to bfloat16, threads
mini 2 half --set compute=bf16
ok $status "run in bfloat16"
grep -q '^products: bf16' "$T/out"
ok $? "the log says what computes products"
mini 2 threads --set compute=bf16 --set grid.threads=3
ok $status "and on threads"
for arm in imitation redis-sft; do
    h5diff "$T/half/arms/$arm/metrics.h5" "$T/threads/arms/$arm/metrics.h5" /sft/loss /sft/loss >"$T/diff" 2>&1
    ok $? "$arm: threads change no bit of a loss"
    h5diff "$T/m2/arms/$arm/metrics.h5" "$T/half/arms/$arm/metrics.h5" /sft/loss /sft/loss >"$T/diff" 2>&1
    [ $? = 1 ] && h5diff -p 0.02 "$T/m2/arms/$arm/metrics.h5" "$T/half/arms/$arm/metrics.h5" /sft/loss /sft/loss >"$T/diff" 2>&1
    ok $? "$arm: losses in bfloat16 are others, within 2 %"
done
cp -r "$T/half" "$T/turned"
mini 2 turned
same "$T/m2/arms/imitation/checkpoints/sft-final.h5" "$T/turned/arms/imitation/checkpoints/sft-final.h5"
ok $? "what was trained in bfloat16 is trained anew in float32"

# ---- stopping and continuing
mkdir -p "$T/stop" && touch "$T/stop/STOP"
mini 2 stop
[ $status = 75 ]
ok $? "a stop file: status $status is 'stopped, resumable'"
rm "$T/stop/STOP"
for hours in 0.00002 0.00004 0.00006 0.00008 0.0001 0.00012 0.00015 0.0002; do
    mini 2 stop --max-hours $hours # wherever that falls: in any stage, or after the end
    [ $status = 75 ] || [ $status = 0 ] || break
done
[ $status = 75 ] || [ $status = 0 ]
ok $? "stopped again and again by --max-hours: status $status"
mini 2 stop
ok $status "the same command continues to the end"
same "$T/m2/arms/redis/checkpoints/align-final.h5" "$T/stop/arms/redis/checkpoints/align-final.h5"
ok $? "with the bits of an unbroken run"

# ---- what was made with other settings is not taken
cp -r "$T/m2" "$T/stale"
run 2 align tests/inputs/mini.json --set "run.dir=$T/stale" --set sft.muon_lr=0.001
fails_well 3 "alignment of weights that other settings made"
run 2 eval tests/inputs/mini.json --set "run.dir=$T/stale" --set sft.muon_lr=0.001
fails_well 3 "evaluation of weights that other settings made"
rm -r "$T/stale" && cp -r "$T/m2" "$T/stale"
mini 2 stale --set arms.redis.sft.family_share.list_function=1
[ $status = 0 ] && ! grep -q '^align .*already done' "$T/out"
ok $? "an arm with other shares of the families is aligned anew"
rm -r "$T/stale" && cp -r "$T/m2" "$T/stale"
for option in eval.top_k=3 eval.top_p=0.5 eval.min_p=0.2 'eval.stop=["]"]'; do
    run 2 eval tests/inputs/mini.json --set "run.dir=$T/stale" --set "$option"
    [ $status = 0 ] && grep -q 'made with other settings and will be replaced' "$T/out"
    ok $? "$option: evaluated anew"
    grep -q '^eval: .* tokens of prompts, of them .* shared; .* side by side' "$T/out"
    ok $? "where the tokens went is said"
done
run 2 eval tests/inputs/mini.json --set "run.dir=$T/stale" --set "eval.top_p=1" --set "$option"
[ $status = 0 ] && ! grep -q 'made with other settings' "$T/out"
ok $? "what is off is off"
run 2 eval tests/inputs/mini.json --set "run.dir=$T/stale" --set 'eval.stop=[""]'
fails_well 3 "an empty stop string"
rm -r "$T/stale"
mini 2 stale --set align.branch_at=0.99 --set eval.problems=2
ok $status "a branch at the last step is kept"
perl -MJSON::PP -0777 -ne 'exit !!grep { $_->{problems} != 2 } @{decode_json($_)->{results}}' <"$T/stale/report.json"
ok $? "eval.problems holds for the trivial baselines too"

# ---- one rank fails, in each stage
cp -r "$T/m2" "$T/fault"
for site in augment filter sft align eval checkpoint store; do
    rm -rf "$T/fault" && mkdir "$T/fault"
    mini 2 fault --fault $site:1
    fails_well 7 "fault on rank 1 at $site"
done
mini 2 fault
ok $status "and the run goes on after the last of them"
same "$T/m2/arms/redis/checkpoints/align-final.h5" "$T/fault/arms/redis/checkpoints/align-final.h5"
ok $? "to the same weights"

# ---- bad input
sed 's/"lr": 2e-3/"lrr": 2e-3/' tests/inputs/mini.json >"$T/bad.json"
run 2 run "$T/bad.json"
fails_well 3 "unknown key"
grep -q "bad.json:.*sft.lrr.*did you mean 'sft.lr'" "$T/err"
ok $? "names file, line, key and the nearest known one"
run 2 run "$T/none.json"
fails_well 3 "no such config"
run 2 runn tests/inputs/mini.json
fails_well 2 "unknown command"
mini 2 grid --set grid.data=3
fails_well 3 "a grid that does not fit the ranks"
for command in validate run; do
    run 2 $command tests/inputs/mini.json --set "run.dir=$T/shape" --set model.init.heads=9 --set model.init.kv_heads=2
    fails_well 3 "$command: a model that cannot be made"
    grep -q 'mini.json: model.init.heads: 9 is not a multiple of kv_heads (2)' "$T/err" && [ ! -e "$T/shape" ]
    ok $? "names file, key and reason, before any work"
done
echo '{"idx": 0, "train": [{"input": ["red metal cube"], "output": "on"}], "test": [{"inp' >"$T/acre.jsonl"
cat >"$T/file.json" <<EOF
{"run": {"dir": "$T/file"}, "tasks": [{"family": "acre", "file": "acre.jsonl"}]}
EOF
run 2 run "$T/file.json"
fails_well 3 "truncated task file"
grep -q 'acre.jsonl:1' "$T/err"
ok $? "names file and line"
for colour in red blue; do
    echo '{"idx": 0, "train": [{"input": ["COLOUR metal cube"], "output": "on"}], "test": [{"input": ["COLOUR metal cube"], "output": "on"}]}' |
        sed "s/COLOUR/$colour/g" >"$T/$colour.jsonl"
done
echo '{"tasks": [{"family": "acre", "file": "red.jsonl", "test_file": "blue.jsonl"}]}' >"$T/apart.json"
run 1 validate "$T/apart.json"
grep -q 'acre *1 training tasks, 1 test tasks' "$T/out"
ok $? "test tasks that only the test file has are kept"
for i in {0..9}; do
    echo "{\"idx\": $i, \"train\": [{\"input\": [\"red metal cube\"], \"output\": \"on\"}], \"test\": [{\"input\": [\"red metal cube\"], \"output\": \"on\"}]}"
done >"$T/ten.jsonl"
echo '{"tasks": [{"family": "acre", "file": "ten.jsonl", "holdout": "none", "limit": 4}]}' >"$T/four.json"
run 1 validate "$T/four.json"
grep -q 'acre *4 training tasks, 0 test tasks' "$T/out"
ok $? "a limit takes some tasks of a file"
head -c 5000 "$T/m2/traces.h5" >"$T/cut.h5"
run 1 inspect "$T/cut.h5"
fails_well 3 "truncated HDF5 file"
cp -r "$T/m2" "$T/cut" && head -c 5000 "$T/m2/datasets.h5" >"$T/cut/datasets.h5"
run 2 sft tests/inputs/mini.json --set "run.dir=$T/cut" --set sft.lr=0.1
fails_well 3 "truncated datasets.h5"

# ---- a full disk: what was there stays
if mkdir "$T/full" && mount -t tmpfs -o size=1200k tmpfs "$T/full" 2>/dev/null; then
    trap 'umount "$T/full"; rm -rf "$T"' EXIT
    mkdir "$T/full/run" && cp "$T/m2/traces.h5" "$T/full/run/"
    before=$(md5sum <"$T/full/run/traces.h5")
    head -c 700000 /dev/urandom >"$T/full/ballast"
    run 2 run tests/inputs/mini.json --set "run.dir=$T/full/run" --set run.seed=9
    fails_well 4 "no room for the files of a run"
    [ "$before" = "$(md5sum <"$T/full/run/traces.h5")" ] && [ -z "$(find "$T/full" -name '*.tmp*')" ]
    ok $? "the old traces.h5 is untouched and nothing is left over"
else
    ok 0 "a full disk # SKIP no right to mount a small file system"
fi

# ---- the other commands
run 1 validate tests/inputs/mini.json
grep -q 'plan .*acre' "$T/out" && [ $status = 0 ]
ok $? "validate prints the plan"
run 1 inspect "$T/m2/traces.h5"
grep -q 'hypothesis' "$T/out" && [ $status = 0 ]
ok $? "inspect shows tables"
run 1 inspect "$T/m2/traces.h5" --json
[ $status = 0 ] && perl -MJSON::PP -0777 -ne 'decode_json($_)' <"$T/out"
ok $? "inspect --json is JSON"
run 1 inspect tests/corpus/good.gguf --json
[ $status = 0 ] && perl -MJSON::PP -0777 -ne 'exit(@{decode_json($_)->{tensors}} != 18)' <"$T/out"
ok $? "inspect --json lists a model's tensors"
run 1 inspect tests/corpus/bad_overlap.gguf
fails_well 3 "broken model file"
run 1 report "$T/m2"
grep -q 'arc1d: 6 test problems' "$T/out"
ok $? "report prints a finished run again"
perl -MJSON::PP -0777 -ne '$r = decode_json($_)->{results}; exit !(@$r > 10 && defined $r->[0]{low})' <"$T/m2/report.json"
ok $? "report.json holds the results"
run 1 --version
grep -q '^redistill [0-9]' "$T/out"
ok $? "--version"
run 1 --help keys
grep -q 'sft.muon_lr' "$T/out"
ok $? "--help keys lists the keys"
finish
