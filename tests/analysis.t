#!/usr/bin/env bash
# analysis/: its numbers are the report's, intervals cover, pages hold what they should and need nothing
# else, what is missing or damaged is said, a job can be watched.  tests/analysis.py has the checks.
set -u
. tests/shell.sh
export PYTHONDONTWRITEBYTECODE=1 MPLCONFIGDIR=$T
. tests/python.sh
python_with h5py numpy matplotlib || { echo "1..0 # SKIP no Python with h5py, numpy and matplotlib"; exit 0; }
run() { # command dir extra…
    local command=$1 dir=$2
    shift 2
    timeout -k 5 180 "$MPIRUN" -n 2 "$R" "$command" tests/inputs/mini.json --set "run.dir=$T/$dir" \
        --set 'eval.hypotheses=[1,4,50]' --set eval.teacher=true "$@" >"$T/out" 2>"$T/err"
}
# A check of tests/analysis.py: its last line says what it found.
check() { # name what arguments…
    local name=$1 what=$2
    shift 2
    "$PY" tests/analysis.py "$name" "$@" >"$T/out" 2>&1
    ok $? "$what: $(tail -n 1 "$T/out")"
}
analysis() { "$PY" -m analysis "$@" >"$T/out" 2>"$T/err"; }

# ---- a real run
run run whole
ok $? "a run"
check numbers "from predictions.h5 and traces.h5 the numbers of report.json" "$T/whole"
cp -r "$T/whole" "$T/sets" && rm "$T"/sets/arms/*/predictions.h5 "$T/sets/teacher/predictions.h5"
run run sets --set 'tasks[1].set=named' && grep -q '"named"' "$T/sets/report.json"
ok $? "evaluated again with a named test set"
check numbers "the same with a named test set" "$T/sets"
mkdir -p "$T/reader/runs" "$T/reader/sweeps" && ln -s "$T/whole" "$T/reader/runs/quickstart"
check readme "README's code blocks, as they stand" README.md "$T/reader"
analysis report "$T/whole" -o "$T/page"
ok $? "its page: $(cat "$T/out" "$T/err" | tail -n 1 | sed "s|$T/||")"
check page "the page" "$T/page" "$T/whole"
cp "$T/page/report.html" "$T/once.html"
analysis report "$T/whole" -o "$T/page" && cmp -s "$T/once.html" "$T/page/report.html"
ok $? "made again it has the same bytes"
analysis watch "$T/whole" --once && grep -q 'done in' "$T/out" && [ "$(grep -c 'eval .*done' "$T/out")" = 4 ]
ok $? "watched: $(tail -n 1 "$T/out")"

# ---- damaged and missing
cp -r "$T/whole" "$T/hurt"
perl -e 'open F, "+<", $ARGV[0]; seek F, 5000, 0; read F, $b, 1; seek F, 5000, 0; print F chr(ord($b) ^ 4)' \
    "$T/hurt/arms/redis/predictions.h5"
rm "$T/hurt/arms/imitation/metrics.h5" "$T/hurt/traces.h5"
echo '{"broken' >"$T/hurt/report.json"
analysis report "$T/hurt" -o "$T/hurtpage"
ok $? "a page of a damaged run"
for what in 'report.json: damaged' 'arms/imitation/metrics.h5: No such file' 'traces.h5: No such file'; do
    grep -q "$what" "$T/hurtpage/report.html"
    ok $? "it says: $what"
done
cp "$T/whole/report.json" "$T/hurt"
analysis report "$T/hurt" -o "$T/hurtpage" && grep -q 'arms/redis/predictions.h5: damaged' "$T/hurtpage/report.html"
ok $? "it says: arms/redis/predictions.h5: damaged"
echo '{' >"$T/hurt/manifest.json"
analysis report "$T/hurt" -o "$T/hurtpage" && grep -q 'manifest.json: damaged' "$T/hurtpage/report.html"
ok $? "it says: manifest.json: damaged"
analysis report "$T" -o "$T/nopage"
[ $? = 1 ] && grep -q 'neither a run' "$T/err"
ok $? "neither a run nor a sweep: $(sed "s|$T|DIR|" "$T/err" | tail -n 1)"

# ---- a job that is under way
run augment live && run filter live
analysis watch "$T/live" --once && grep -q 'filter .*done' "$T/out" && grep -q 'last sign of life' "$T/out"
ok $? "a run that has only begun"
timeout -k 5 120 "$MPIRUN" -n 2 "$R" sft tests/inputs/mini.json --set "run.dir=$T/live" --set sft.tokens=150000 >/dev/null 2>&1 &
job=$!
looks=0
bad=0
seen=0
while kill -0 $job 2>/dev/null; do
    analysis watch "$T/live" --once && ! grep -q 'cannot be read' "$T/out" || { bad=1; tail -n 3 "$T/out" "$T/err" | sed 's/^/# /'; }
    grep -q 'tokens/s' "$T/out" && seen=$((seen + 1))
    looks=$((looks + 1))
    sleep 0.1
done
wait $job
[ $bad = 0 ] && [ $seen -gt 0 ]
ok $? "a growing metrics.h5, looked at $looks times, training seen $seen times"
check journal "journals are counted" "$T/journal"

# ---- sweeps, with differences that are known
check sweep "a sweep" "$T/sweep"
analysis report "$T/sweep" -o "$T/sweeppage"
ok $? "its page: $(cat "$T/out" "$T/err" | tail -n 1 | sed "s|$T/||")"
check sweeppage "the page" "$T/sweeppage"
analysis report "$T/sweep" -o "$T/sweeppage" --reference variant=nothing
[ $? = 1 ] && grep -q 'the axes are' "$T/err"
ok $? "an unknown reference: $(tail -n 1 "$T/err")"
check teachersweep "a sweep over the teacher's noise" "$T/noisy"
analysis report "$T/noisy" -o "$T/noisypage"
ok $? "its page: $(cat "$T/out" "$T/err" | tail -n 1 | sed "s|$T/||")"
check teacherpage "the page" "$T/noisypage"
ln -s "$T/sweep" "$T/reader/sweeps/ablations"
check readme "analysis/README's code blocks, as they stand" analysis/README.md "$T/reader"

# ---- a sweep of the program itself
cat >"$T/real.json" <<EOS
{"sweep": {"name": "real", "dir": "$T/real"}, "base": "$PWD/tests/inputs/mini.json", "set": {"eval.hypotheses": [1, 4]},
 "axes": [{"name": "variant", "values": [{"label": "full", "set": {}}, {"label": "no-filter", "set": {"filter.min_score": 0}},
                                         {"label": "bigger", "set": {"model.init.width": 48}}]}], "seeds": [1, 2]}
EOS
for index in 0 1 2; do # the other three are missing
    timeout -k 5 120 "$MPIRUN" -n 2 "$R" run --sweep "$T/real.json" --index $index >"$T/out" 2>"$T/err" || tail -n 2 "$T/err"
done
"$R" sweep collect "$T/real.json" >"$T/out" 2>"$T/err"
ok $? "a sweep of the program: $(head -n 1 "$T/out" | sed "s|$T/||")"
analysis report "$T/real" -o "$T/realpage" && [ "$(grep -c '<figure>' "$T/realpage/report.html")" -ge 3 ] &&
    grep -q 'no-filter' "$T/realpage/differences.csv" && grep -q 'Cannot be compared yet: bigger' "$T/realpage/report.html" &&
    [ "$(grep -o 'seed=[12]): missing' "$T/realpage/report.html" | wc -l)" = 3 ]
ok $? "its page compares what can be compared, and names what is missing"
analysis summary "$T/real/members/0000" "$T/real/members/0001" -o "$T/summary"
ok $? "a summary of two seeds: $(cat "$T/out" "$T/err" | tail -n 1 | sed "s|$T/||")"
check summary "it" "$T/summary" "$T/real/members/0000" "$T/real/members/0001"
analysis summary "$T/real/members/0000" "$T/nothing" -o "$T/summary"
[ $? = 1 ] && grep -q 'nothing: no results: manifest.json: No such file' "$T/err"
ok $? "without results: $(sed "s|$T|DIR|" "$T/err" | tail -n 1)"
analysis summary "$T/real/members/0000" "$T/real/members/0002" -o "$T/summary"
[ $? = 1 ] && grep -q '0002: another config than' "$T/err"
ok $? "of two variants: $(sed "s|$T|DIR|g" "$T/err" | tail -n 1)"
analysis summary "$T/real/members/0000" "$T/real/members/0000/" -o "$T/summary"
[ $? = 1 ] && grep -q 'seed 1 again' "$T/err"
ok $? "of one seed twice: $(sed "s|$T|DIR|g" "$T/err" | tail -n 1)"

# ---- intervals
check coverage "intervals cover"
check keyed "random numbers are keyed"
finish
