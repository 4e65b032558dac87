#!/usr/bin/env bash
# eval.teacher: the teacher's own search on the test problems, at 1, 2 and 4 ranks, after a fault, with other
# settings, beside students, replayed, shared by the members of a sweep.
set -u
. tests/shell.sh
export SOURCE_DATE_EPOCH=0 # files of equal runs are equal
fails() { # wanted-status pattern what
    [ $status = "$1" ] && [ "$(grep -cE '^redistill: (error|stopped): ' "$T/err")" = 1 ] && grep -q -- "$2" "$T/err"
    ok $? "$3: status $status: $(head -n 1 "$T/err" | sed "s|$T|DIR|")"
}
# The tables of two files; the config among the attributes names other directories.
same_tables() { # file file table…
    local a=$1 b=$2
    shift 2
    for table in "$@"; do h5diff -q "$a" "$b" "/$table" "/$table" >/dev/null 2>&1 || return 1; done
}
same() { # dir dir
    same_tables "$T/$1/teacher/traces.h5" "$T/$2/teacher/traces.h5" task example hypothesis application text &&
        same_tables "$T/$1/teacher/predictions.h5" "$T/$2/teacher/predictions.h5" problem hypothesis answer spent text
}
lines() { # dir: the teacher's lines of a report, without the reading
    perl -MJSON::PP -0777 -ne 'print join "\n", map { "$_->{family} $_->{method} $_->{n} $_->{parse} $_->{accuracy} $_->{problems} $_->{tokens_per_query}" }
        grep { $_->{arm} eq "teacher" } @{decode_json($_)->{results}}' <"$T/$1/report.json"
}

# ---- the teacher alone: nothing is trained
cat >"$T/alone.json" <<END
{"run": {"name": "alone", "seed": 3}, "stages": ["eval", "report"],
 "tasks": [{"family": "list_function", "difficulty": 0, "known_rule": true, "test": 20},
           {"family": "arc1d", "difficulty": 0, "known_rule": true, "test": 20},
           {"family": "acre", "test": 3, "train": false}],
 "teacher": {"noise": 0.1}, "eval": {"teacher": true, "hypotheses": [1, 8], "families": ["list_function", "arc1d"]},
 "arms": {"none": {"stages": []}}}
END
for r in 1 2 4; do
    run $r run "$T/alone.json" --set "run.dir=$T/m$r"
    good "the teacher alone at $r ranks"
done
grep -qE '^  teacher +search +8 ' "$T/out" && grep -q '^teacher .*40 / 40 tasks' "$T/out"
ok $? "it stands in the table: $(grep -E '^  teacher +search +8 ' "$T/out" | head -n 1)"
for r in 2 4; do
    same m1 m$r && [ "$(lines m1)" = "$(lines m$r)" ]
    ok $? "at $r ranks the same files and lines as at 1"
done
[ "$(lines m1 | wc -l)" = 7 ] && lines m1 | grep -q 'list_function search 8 tolerant .* 20 ' # 8 lines, the last without its end
ok $? "both families, at each number of rules, in both readings"
[ "$(h5dump -y -d /task/rule "$T/m1/teacher/traces.h5" | grep -cE '^ +[0-9, ]*[0-9]')" = 0 ] &&
    h5dump -y -d /task/rule "$T/m1/teacher/traces.h5" | grep -q -- '-1'
ok $? "no task hands its rule over, although known_rule is on"
for f in traces predictions; do
    run 1 inspect --check "$T/m1/teacher/$f.h5"
    good "$f.h5 is as its schema says"
done
run 2 run "$T/alone.json" --set "run.dir=$T/m2"
good "the same command again"
grep -q '^teacher .*tasks/s' "$T/out"
[ $? = 1 ] && [ "$(lines m1)" = "$(lines m2)" ]
ok $? "asks nothing and says the same"
run 2 run "$T/alone.json" --set "run.dir=$T/m2" --set teacher.noise=0.6
good "another noise"
grep -q '^teacher: .*made with other settings and will be replaced' "$T/out" && [ "$(lines m1)" != "$(lines m2)" ]
ok $? "is asked anew"
accuracy() { lines "$1" | awk '$3 == 8 && $4 == "tolerant" {s += $5} END {printf "%.3f", s / 2}'; }
awk "BEGIN {exit !($(accuracy m1) > $(accuracy m2) + 0.1)}"
ok $? "it is right less often: $(accuracy m1), $(accuracy m2)"

# ---- a fault, and going on
run 2 run "$T/alone.json" --set "run.dir=$T/fault" --fault augment:1
fails 7 'augment' "a fault on one rank"
run 2 run "$T/alone.json" --set "run.dir=$T/fault"
good "continued"
same m1 fault && grep -q '^teacher: .* blocks of tasks are in the journal' "$T/out"
ok $? "from the journal, to the same files"

# ---- what it said, replayed
run 2 run "$T/alone.json" --set "run.dir=$T/again" --set teacher.kind=replay --set "teacher.path=$T/m1"
good "the record of that run"
same m1 again
ok $? "says the same"
run 2 run "$T/alone.json" --set "run.dir=$T/none" --set teacher.kind=replay --set "teacher.path=$T/m1" --set 'eval.hypotheses=[1,9]'
fails 3 'fewer rules than are asked for' "more rules than it has"

# ---- beside students
mini=(tests/inputs/mini.json --set sft.tokens=3000 --set align.tokens=2000 --set eval.problems=3 --set eval.teacher=true)
run 2 run "${mini[@]}" --set "run.dir=$T/mini"
good "a run with students"
grep -qE '^  redis(-sft)? search at N = 4 \([0-9.]+ %\) against teacher search at N = 4 \([0-9.]+ %\): ' "$T/out" &&
    ! grep -q '^  teacher search' "$T/out"
ok $? "the verdict: $(grep -m 1 'against teacher' "$T/out")"
lines mini | grep -q 'arc1d search 4 tolerant [0-9.]* 3 '
ok $? "on the problems that the arms are asked"
run 1 validate "${mini[@]}" --set arms.redis.eval.teacher=false
fails 3 'arms of one run share this' "an arm has no teacher of its own"
sed 's/"imitation":/"teacher":/;s|"../../inputs|"'"$PWD"'/inputs|' tests/inputs/mini.json >"$T/named.json"
run 1 validate "$T/named.json" --set eval.teacher=true
fails 3 "arms.teacher" "no arm has its name"

# ---- members of a sweep
cat >"$T/s.json" <<END
{"sweep": {"name": "s", "dir": "$T/s"}, "base": "$T/alone.json",
 "axes": [{"name": "lambda", "key": "align.lambda", "values": [0.1, 0.2]}, {"name": "noise", "key": "teacher.noise", "values": [0.1, 0.3]}]}
END
for i in 0 1 2; do
    run 2 run --sweep "$T/s.json" --index $i
    good "member $i"
done
[ -L "$T/s/members/0002/teacher/traces.h5" ] && [ "$T/s/members/0000/teacher/traces.h5" -ef "$T/s/members/0002/teacher/traces.h5" ] &&
    ! [ "$T/s/members/0000/teacher/traces.h5" -ef "$T/s/members/0001/teacher/traces.h5" ]
ok $? "those with the same teacher ask it once"
run 1 sweep collect "$T/s.json"
good "collected: $(grep '^collect' "$T/out" | sed "s|$T/||")"
finish
