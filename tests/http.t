#!/usr/bin/env bash
# The teacher over HTTP against a server on 127.0.0.1 that fails in every way (fault_server.py): no
# call is lost, none is paid twice, nothing hangs, and the key is nowhere.
# RULES=60 makes it over 10,000 calls in place of some 850.
set -u
. tests/shell.sh
command -v python3 >/dev/null || { echo "1..0 # SKIP no python3"; exit 0; }
RULES=${RULES:-5}
export RD_TEST_KEY=sk-secret-9f2c7d51e8 # of our own server
server_pid= mpirun_pid=
trap 'clean_up' EXIT
trap 'exit 1' INT TERM
clean_up() {
    [ -z "$mpirun_pid" ] || kill -9 "$mpirun_pid" 2>/dev/null
    stop_server
    rm -rf "$T"
}
left_over() { grep -als "$T[/]" /proc/[0-9]*/cmdline 2>/dev/null | grep -v "/$server_pid/"; }

# ---- the server: its log of answered requests is $T/paid
serve() { # options…
    stop_server
    rm -f "$T/port"
    python3 tests/fault_server.py --port-file "$T/port" --log "$T/paid" --key "$RD_TEST_KEY" "$@" >"$T/server" 2>&1 &
    server_pid=$!
    for ((i = 0; i < 200; i++)); do [ -e "$T/port" ] && break; sleep 0.05; done
    url=http://127.0.0.1:$(cat "$T/port")/v1
}
stop_server() { # leaves what it says in $T/server
    [ -n "$server_pid" ] || return 0
    kill "$server_pid" 2>/dev/null
    wait "$server_pid" 2>/dev/null
    server_pid=
}
paid() { wc -l <"$T/paid"; }
twice() { sort "$T/paid" | uniq -d | wc -l; } # requests that were answered more than once

# ---- runs
start() { # ranks dir extra…
    local ranks=$1 dir=$2
    shift 2
    "$MPIRUN" -n "$ranks" "$BUILD/redistill" run "${CONFIG:-tests/inputs/http.json}" --set "run.dir=$T/$dir" --set "teacher.url=$url" \
        --set "augment.hypotheses=$RULES" "$@" >"$T/out" 2>"$T/err" &
    mpirun_pid=$!
    begun=$SECONDS
}
await_end() { # leaves status and seconds; a run that hangs is ended
    for ((i = 0; i < 3000; i++)); do kill -0 "$mpirun_pid" 2>/dev/null || break; sleep 0.1; done
    if ((i == 3000)); then echo "# hangs"; kill -9 "$mpirun_pid"; fi
    wait "$mpirun_pid" 2>/dev/null
    status=$? seconds=$((SECONDS - begun)) mpirun_pid=
    cat "$T/out" "$T/err" >>"$T/said"
}
run() {
    start "$@"
    await_end
}
fails_well() { # wanted-status what: one clear line, gone in time
    local lines
    lines=$(grep -cE '^redistill: (error|stopped): ' "$T/err")
    [ "$status" = "$1" ] && [ "$lines" = 1 ] && [ "$seconds" -le 60 ]
    ok $? "$2: status $status, $lines line, $seconds s: $(grep -m 1 -E '^redistill: (error|stopped)' "$T/err")"
}
# The traces in two directories.  The config, which names the port, differs.
same() {
    local t
    for t in task example hypothesis application text; do
        h5diff -q "$T/$1/traces.h5" "$T/$2/traces.h5" /$t /$t >/dev/null 2>&1 || return 1
    done
}
said() { perl -ne "/$1/ and print(\$1), exit" "$T/out"; } # a number that a run printed

# ---- a server that never fails
serve --delay 0.01
: >"$T/paid"
run 2 whole
calls=$(paid)
[ $status = 0 ] && [ "$calls" -gt $((150 * RULES)) ] && [ "$(twice)" = 0 ]
ok $? "a server that never fails: status $status, $calls calls, $(twice) paid twice, $seconds s"
[ "$(said '([0-9]+) calls answered')" = "$calls" ]
ok $? "the run counts as many: $(grep -m 1 '^teacher' "$T/out")"
run 2 whole
[ $status = 0 ] && [ "$(paid)" = "$calls" ]
ok $? "a finished run asks nothing"
cat >"$T/own.json" <<END
{"run": {"name": "own", "seed": 3}, "stages": ["eval", "report"], "arms": {"none": {"stages": []}},
 "tasks": [{"family": "list_function", "difficulty": 0, "test": 6}, {"family": "acre", "test": 2}],
 "teacher": {"kind": "http", "model": "test-model", "key_variable": "RD_TEST_KEY", "max_calls": 100}, "eval": {"teacher": true}}
END
CONFIG=$T/own.json run 2 own --set 'eval.hypotheses=[1,3]'
[ $status = 75 ] && [ "$(paid)" = $((calls + 100)) ]
ok $? "the teacher's own accuracy within max_calls: status $status, $(($(paid) - calls)) calls"
CONFIG=$T/own.json run 2 own --set 'eval.hypotheses=[1,3]' --set teacher.max_calls=0
own=$(($(paid) - calls))
[ $status = 0 ] && grep -q '^  teacher *search *3 ' "$T/out" && [ "$(twice)" = 0 ] && [ -e "$T/own/calls.0.ledger" ]
ok $? "and all of it: $own calls, $(twice) paid twice"
rm -r "$T/own/teacher"
CONFIG=$T/own.json run 2 own --set 'eval.hypotheses=[1,3]' --set teacher.max_calls=0
[ $status = 0 ] && [ "$(paid)" = $((calls + own)) ]
ok $? "made again it asks nothing: $(($(paid) - calls - own)) calls"
stop_server
most=$(sed -nE 's/.*at most ([0-9]+) at once.*/\1/p' "$T/server")
[ "$most" -le 32 ] && [ "$most" -gt 16 ]
ok $? "at most $most of 32 calls were under way"

# ---- a server that fails a fifth of the requests, and a run that is killed
serve --delay 0.01 --fail 0.2
: >"$T/paid"
start 2 killed
aim=$((calls / 5 + RANDOM % (calls / 2)))
while kill -0 "$mpirun_pid" 2>/dev/null && [ "$(paid)" -lt $aim ]; do sleep 0.01; done
mapfile -t ranks < <(pgrep -P "$mpirun_pid")
kill -9 "${ranks[@]}" "$mpirun_pid" 2>/dev/null
wait "$mpirun_pid" 2>/dev/null
for ((i = 0; i < 100; i++)); do [ -n "$(left_over)" ] || break; sleep 0.1; done
sleep 0.3 # what the server had begun to answer is in its log now
before=$(paid)
[ ! -e "$T/killed/traces.h5" ] && [ "$before" -lt "$calls" ]
ok $? "killed after $before answers"
run 3 killed
kept=$(said '([0-9]+) answered calls are in the ledger')
lost=$((before - kept))
[ $status = 0 ] && [ $lost -ge 0 ] && [ $lost -le 32 ]
ok $? "continued on 3 ranks: status $status, $seconds s, $kept of $before answers were in the ledger, $lost on their way"
[ "$(paid)" = $((calls + lost)) ] && [ "$(twice)" = $lost ]
ok $? "$(paid) answers for $calls calls: only what was on its way is paid twice ($(twice))"
same whole killed
ok $? "the same traces as from a server that never fails"
: >"$T/paid"
run 2 unbroken
[ $status = 0 ] && [ "$(paid)" = "$calls" ] && [ "$(twice)" = 0 ] && same whole unbroken
ok $? "not killed: status $status, $seconds s, $(paid) answers for $calls calls, $(twice) paid twice, the same traces"
stop_server
echo "# $(cat "$T/server")"

# ---- answers are kept whatever becomes of the traces
rm "$T/killed/traces.h5"
run 1 killed # nobody listens there now
[ $status = 0 ] && same whole killed
ok $? "from the ledger alone, without a server: status $status"

# ---- failures that end a run
run 2 nobody --set teacher.attempts=2
fails_well 3 "nobody listens"
serve
RD_TEST_KEY=sk-wrong-0123456789 run 2 wrong
fails_well 3 "a wrong key"
! grep -q 'sk-wrong' "$T/err" "$T/out"
ok $? "which is not quoted"
(unset RD_TEST_KEY && run 1 wrong && fails_well 3 "no key") >"$T/sub"
sed "s/^\(not \)\?ok [0-9]*/\1ok $((n + 1))/" "$T/sub"
grep -q '^not ok' "$T/sub" && failed=1
n=$((n + 1))
serve --fail 1 --ways 500
run 2 always --set teacher.attempts=3
fails_well 3 "a server that always fails"
run 2 always --set teacher.attempts=1 --set teacher.on_failure=unanswered
fails_well 3 "even where unanswered calls count"
serve --fail 1 --ways slow
run 2 always --set teacher.attempts=2 --set teacher.timeout=0.5
fails_well 3 "a server that says nothing"
serve --delay 0.05 --fail 0.3 --ways html,garbage # replies that come after the failure are read too
run 2 fault --fault augment:1
fails_well 7 "one rank fails alone"
serve --fail 0.1 --ways 500
run 2 counted --set teacher.attempts=1 --set teacher.on_failure=unanswered
[ $status = 0 ] && [ "$(said 'ledger; ([0-9]+) unanswered')" -gt 0 ]
ok $? "unanswered calls count where the config says so: $(grep -m 1 '^teacher' "$T/out")"

# ---- limits and stops
serve
: >"$T/paid"
run 2 budget --set teacher.budget=0.02
spent=$(said '([0-9.]+) in all')
fails_well 75 "a budget of 0.02"
perl -e 'exit !($ARGV[0] > 0 && $ARGV[0] <= 0.02)' "$spent"
ok $? "of which $spent is spent"
run 2 budget --set teacher.budget=0.02 # what was set aside for calls under way may be there again
spent=$(said '([0-9.]+) in all')
[ $status = 75 ] && perl -e 'exit !($ARGV[0] <= 0.02)' "$spent"
ok $? "once more: status $status, $spent spent in all"
run 4 budget --set teacher.max_calls=$((calls / 2))
[ $status = 75 ] && [ "$(paid)" -le $((calls / 2)) ] && [ "$(paid)" -gt $((calls / 2 - 32)) ]
ok $? "calls limited to $((calls / 2)): status $status, $(paid) made in all"
run 3 budget
[ $status = 0 ] && [ "$(paid)" = "$calls" ] && [ "$(twice)" = 0 ] && same whole budget
ok $? "without limits: status $status, $(paid) calls, $(twice) paid twice, the same traces"
serve --delay 0.2 --plain
: >"$T/paid"
start 2 stop
while kill -0 "$mpirun_pid" 2>/dev/null && [ "$(paid)" -lt 60 ]; do sleep 0.02; done
touch "$T/stop/STOP"
await_end
fails_well 75 "a request to stop"
answered=$(said '([0-9]+) calls answered')
[ "$answered" = "$(paid)" ]
ok $? "the calls under way are kept: $answered of $(paid)"
rm "$T/stop/STOP"

# ---- fewer calls, fewer at once
serve --fail 0.1
: >"$T/paid"
run 2 choices --set teacher.choices=4
[ $status = 0 ] && [ "$(paid)" -lt "$calls" ] && [ "$(paid)" -gt $((calls / 2)) ]
ok $? "four proposals a call: status $status, $(paid) calls in place of $calls"
serve
run 4 few --set teacher.in_flight=2 --set augment.hypotheses=1
stop_server
[ $status = 0 ] && grep -q 'at most 2 at once' "$T/server"
ok $? "2 calls in flight for 4 ranks: $(cat "$T/server")"

cat >"$T/one.json" <<END
{"stages": ["augment"], "tasks": [{"family": "acre", "generate": 8}],
 "teacher": {"kind": "http", "model": "test-model", "key_variable": "RD_TEST_KEY", "in_flight": 32}}
END
serve --delay 0.1 --plain
CONFIG=$T/one.json run 2 one --set augment.hypotheses=10
stop_server
most=$(sed -nE 's/.*at most ([0-9]+) at once.*/\1/p' "$T/server")
[ $status = 0 ] && [ "$most" -gt 16 ] && [ "$most" -le 32 ]
ok $? "a rank without work leaves its calls to the other: at most $most of 32 at once"

# ---- the key, and what else is written
run 1 key --set teacher.url=https://user:$RD_TEST_KEY@127.0.0.1/v1
fails_well 3 "a key in the address"
! grep -rqF "$RD_TEST_KEY" "$T"
ok $? "the key is in nothing that the runs left or said"
grep -rqF "RD_TEST_KEY" "$T/whole/manifest.json"
ok $? "only the name of its variable is"
finish
