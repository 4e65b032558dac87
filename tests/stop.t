#!/usr/bin/env bash
# Requests to stop, at random moments, of every kind; limits of the batch system; the directory's
# lock; finished units that are not done again.  (See kill.sh.)
. tests/kill.sh
reference
RANDOM=${SEED:-$$}

# ---- a run asked to stop again and again, in all ways, ends as one that was left alone
ask() { # how
    mapfile -t pids < <(pgrep -P "$mpirun_pid")
    case $1 in
    file) touch "$T/run/STOP" ;;
    one) kill -USR1 "${pids[RANDOM % ${#pids[@]}]}" ;;
    twice) kill -TERM "${pids[@]}"; kill -USR1 "${pids[@]}"; kill -TERM "${pids[@]}" ;;
    *) kill -TERM "${pids[@]}" ;;
    esac 2>/dev/null
}
bad=0 stops=0 latest=0
declare -A where
for ((k = 0; k < ${STOPS:-6}; k++)); do
    how=(file one twice all)
    how=${how[RANDOM % 4]}
    delay=$((start_ms * 2 / 3 + (RANDOM * 32768 + RANDOM) % (whole_ms + 1)))
    start run
    sleep "$((delay / 1000)).$(printf %03d $((delay % 1000)))"
    grep -q '^run ' "$T/out" && alive "$mpirun_pid" && ask $how
    asked=$(now)
    await_end
    rm -f "$T/run/STOP"
    [ $status = 75 ] && stops=$((stops + 1)) && where[$(stage)]=1
    [ $status = 75 ] && (($(now) - asked > latest)) && latest=$(($(now) - asked))
    [ $status = 75 ] || [ $status = 0 ] || { bad=$((bad + 1)); echo "# $how: status $status: $(tail -n 1 "$T/err")"; }
    [ $status != 0 ] || rm -rf "$T/run"
done
ok $bad "$stops stops by signals and files, in ${!where[*]}; the longest took $latest ms"
run run
[ $status = 0 ] && same_run "$T/whole" "$T/run"
ok $? "and the run ended in the state of one that nobody stopped"

# ---- finished units are not done again, whatever the ranks and the grid
units() { sed -n "s/^$1: \([0-9]*\) .*were worked on now$/\1/p" "$T/out" | tail -n 1; }
in_journal() { sed -n "s/^$1: \([0-9]*\) of [0-9]* .*are in the journal$/\1/p" "$T/out" | head -n 1; }
total() { sed -n "s/^$1: [0-9]* of \([0-9]*\) .*are in the journal$/\1/p" "$T/out" | head -n 1; }
continued() { # stage what
    local j t u
    j=$(in_journal "$1") t=$(total "$1") u=$(units "$1")
    [ $status = 0 ] && [ "${j:-0}" -gt 0 ] && [ $((j + u)) = "$t" ]
    ok $? "$2: $j of $t units in the journal, $u worked on"
}
rm -rf "$T/run"
run augment --fault augment:1:kill # as rank 1 has finished its first unit
RANKS=3 run augment
continued augment "augment, killed at 2 ranks and continued at 3"
cmp -s <(h5dump -d /hypothesis/rule "$T/run/traces.h5" | tail -n +2) <(h5dump -d /hypothesis/rule "$T/whole/traces.h5" | tail -n +2)
ok $? "to the same rules"
rm -rf "$T/run" && cp -r "$T/whole" "$T/run" && rm "$T/run/arms/redis-sft/predictions.h5"
run eval --fault eval:1:kill
RANKS=4 run eval --set grid.rows=2 --set grid.data=2
continued eval "eval, killed at 2 ranks and continued on 2 x (2 x 1)"

# ---- one job at a time
rm -rf "$T/run"
start run
until grep -q 'process' "$T/run/LOCK" 2>/dev/null; do alive "$mpirun_pid" || break; done
timeout 60 "$MPIRUN" -n 1 "$R" run "$CONFIG" --set "run.dir=$T/run" --set run.wait=0.3 >"$T/out2" 2>"$T/err2"
[ $? = 3 ] && [ "$(grep -c '^redistill: error: .*/LOCK: another job works here' "$T/err2")" = 1 ]
ok $? "a second job in the same directory: $(sed "s|$T/||;s/process [0-9]* on .*)/process … on …)/" "$T/err2" | head -n 1)"
strike one
run run
[ $status = 0 ] && same_run "$T/whole" "$T/run"
ok $? "the lock of a killed job is gone, and the run goes on"

# ---- limits of the batch system (one rank, not under mpirun, which would look for Slurm too)
limited() { timeout 100 "$R" run "$CONFIG" --set "run.dir=$T/limited" >"$T/out" 2>"$T/err"; }
rm -rf "$T/limited"
SLURM_JOB_END_TIME=$(($(date +%s) + 1)) limited
[ $? = 75 ] && grep -q '^limit .* 0.00 hours' "$T/out"
ok $? "SLURM_JOB_END_TIME is heeded"
mkdir "$T/bin"
printf '#!/bin/sh\necho "$@" >>%s/asked\necho 0:01\n' "$T" >"$T/bin/squeue"
chmod +x "$T/bin/squeue"
SLURM_JOB_ID=17 PATH=$T/bin:$PATH limited
[ $? = 75 ] && grep -q -- '-j 17' "$T/asked" && [ "$(wc -l <"$T/asked")" = 1 ]
ok $? "else squeue is asked, once"
: >"$T/asked"
SLURM_JOB_ID=17 SLURM_ARRAY_JOB_ID=17 SLURM_ARRAY_TASK_ID=3 PATH=$T/bin:$PATH limited
[ $? = 75 ] && grep -q -- '-j 17_3$' "$T/asked"
ok $? "of an array, about this element alone"
for answer in UNLIMITED 'slurm_load_jobs error: Invalid job id specified' ''; do
    printf '#!/bin/sh\necho "%s"\n' "$answer" >"$T/bin/squeue"
    SLURM_JOB_ID=17 PATH=$T/bin:$PATH timeout 100 "$R" augment "$CONFIG" --set "run.dir=$T/limited" >"$T/out" 2>"$T/err"
    [ $? = 0 ] && ! grep -q '^limit' "$T/out"
    ok $? "squeue answers '$answer': no limit"
done
printf '#!/bin/sh\nexec sleep 1000\n' >"$T/bin/squeue"
SLURM_JOB_ID=17 PATH=$T/bin:$PATH timeout 100 "$R" augment "$CONFIG" --set "run.dir=$T/limited" >"$T/out" 2>"$T/err"
ok $? "a squeue that hangs is given up"
rm "$T/bin/squeue"
SLURM_JOB_ID=17 PATH=$T/bin:$PATH timeout 100 "$R" augment "$CONFIG" --set "run.dir=$T/limited" >"$T/out" 2>"$T/err"
ok $? "no squeue: no limit"
finish
