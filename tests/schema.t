#!/usr/bin/env bash
# The schema of every HDF5 file: the files of small runs fit it, analysis/SCHEMA.md says the same, a
# stranger reads them by that page with h5py alone, and files broken in many ways are told.
set -u
. tests/shell.sh
. tests/python.sh
run() { # command dir extra…
    local command=$1 dir=$2
    shift 2
    timeout -k 5 120 "$MPIRUN" -n 2 "$R" "$command" tests/inputs/mini.json --set "run.dir=$T/$dir" "$@" >"$T/out" 2>"$T/err"
}

"$R" inspect --check --list >"$T/list"
ok $? "the schemas are listed"
sed '1,/^<!-- What follows is printed/d' analysis/SCHEMA.md | sed 1d | diff - "$T/list" >"$T/diff"
ok $? "analysis/SCHEMA.md holds just these: $(wc -l <"$T/list") lines"
sed 's/^/# /' "$T/diff" | head -5

run run whole
ok $? "a run"
run run adapted --set sft.adapter.kind=lora --set sft.adapter.rank=2 --set 'eval.methods=["io"]'
ok $? "a run with adapters"
# A limit that falls into training leaves a step's file.
run augment cut && run filter cut && run sft cut --set sft.tokens=20000000 --set sft.checkpoint_every=5 --max-hours 0.001
[ $? = 75 ] && ls "$T"/cut/arms/*/checkpoints/sft-0*.h5 >/dev/null
ok $? "a run that was stopped"
# A sweep of two members, one of which was never started.
cat >"$T/two.json" <<EOS
{"sweep": {"name": "two", "dir": "$T/sweep"}, "base": "$PWD/tests/inputs/mini.json",
 "axes": [{"name": "score", "key": "filter.min_score", "values": [0.5, 1]}]}
EOS
"$R" run --sweep "$T/two.json" --index 0 >"$T/out" 2>"$T/err" && "$R" sweep collect "$T/two.json" >"$T/out" 2>"$T/err"
ok $? "a sweep: $(head -n 1 "$T/out" | sed "s|$T/||")"

mapfile -t files < <(find "$T"/whole "$T"/adapted "$T"/cut "$T/sweep" -name '*.h5' -type f | sort)
for f in "${files[@]}"; do
    "$R" inspect --check "$f" >"$T/out" 2>"$T/err" && [ "$(wc -l <"$T/out")" = 1 ] && grep -q 'as it should be' "$T/out"
    ok $? "$(sed "s|$T/||g" "$T/out" "$T/err" | head -1)"
done

# ---- broken
says() { # status-wanted pattern what: of the last check
    [ "$status" = "$1" ] && grep -q "$2" "$T/out" "$T/err"
    ok $? "$3: status $status, $(cat "$T/out" "$T/err" | grep -m 1 "$2" | sed "s|$T/||g")"
}
check() {
    "$R" inspect --check "$1" >"$T/out" 2>"$T/err"
    status=$?
}
cp "$T/whole/traces.h5" "$T/flipped.h5"
perl -e 'open F, "+<", $ARGV[0]; seek F, 9000, 0; read F, $b, 1; seek F, 9000, 0; print F chr(ord($b) ^ 4)' "$T/flipped.h5"
check "$T/flipped.h5"
says 3 'damaged file' "a flipped bit"
head -c 4000 "$T/whole/traces.h5" >"$T/cut.h5"
check "$T/cut.h5"
says 3 'truncated\|damaged' "half a file"
check "$T/whole/report.json"
says 3 'not an HDF5 file' "no HDF5 file"
"$R" inspect --list >"$T/out" 2>"$T/err"
[ $? = 2 ]
ok $? "--list alone is a usage error"

if python_with h5py numpy; then
    "$PY" tests/schema.py break "$T/whole" "$T/broken" >"$T/cases"
    ok $? "files are broken in $(wc -l <"$T/cases") ways"
    while IFS=$'\t' read -r file pattern what; do
        check "$T/broken/$file"
        says "${what%%:*}" "$pattern" "${what#*:}"
    done <"$T/cases"
    for dir in whole adapted cut sweep; do
        "$PY" tests/schema.py read analysis/SCHEMA.md "$T/$dir" >"$T/out" 2>&1
        ok $? "a stranger reads: $(tail -n 1 "$T/out")"
    done
else
    ok 0 "# SKIP broken files, and reading as a stranger: no Python with h5py and numpy"
fi
finish
