#!/usr/bin/env bash
# A sweep of 24 members as a job array (jobs/sweep.sbatch): two members are killed, one finds no room for its
# files; collected without these three, and completed by the same line.  Another one is stopped and goes back into the
# queue alone (the last, whose number is the array's).
. tests/slurm/jobs.sh
slurm_begin 4
R=$PWD/$BUILD/redistill

# Members of seconds: 4 lambdas x 2 filters x 3 seeds.
cat >"$T/spec.json" <<EOS
{
  "sweep": {"name": "tiny"},
  "base":  "$PWD/tests/inputs/mini.json",
  "set":   {"sft.tokens": 6000, "align.tokens": 2048, "eval.problems": 2, "sft.checkpoint_every": 1},
  "axes":  [
    {"name": "lambda", "key": "align.lambda", "values": [0.05, 0.1, 0.2, 0.4]},
    {"name": "rows", "values": [{"label": "all", "set": {}}, {"label": "right", "set": {"filter.min_score": 1.0}}]}
  ],
  "seeds": [1, 2, 3]
}
EOS
killed="5 17" full=11 missing="5, 11, 17"
# What runs as each member.  At first two die by SIGKILL at their first checkpoint, and one has room for small
# files alone (MPI's shared memory would be a large one, too).
cat >"$T/program" <<EOS
#!/bin/bash
if [ ! -e "$T/healthy" ]; then
    case " $killed " in *" \$SLURM_ARRAY_TASK_ID "*) set -- "\$@" --fault checkpoint:0:kill ;; esac
    if [ "\$SLURM_ARRAY_TASK_ID" = $full ]; then
        ulimit -f 40
        export OMPI_MCA_btl=tcp,self PMIX_MCA_gds=hash
    fi
fi
exec "$R" "\$@"
EOS
chmod +x "$T/program"
export RD_PROGRAM=$T/program
mkdir "$T/here"

sweep() { (cd "$T/here" && "$R" sweep "$1" "$T/spec.json") >"$T/out" 2>"$T/err"; }
member() { printf '%s/here/sweeps/tiny/members/%04d' "$T" "$1"; } # index
array() { number=$(sbatch --parsable --chdir="$T/here" --ntasks-per-node=1 --array=0-23 jobs/sweep.sbatch "$T/spec.json"); }
over() { # scontrol knows elements that were put back
    local elements
    elements=$(job_show "$number")
    [ -n "$elements" ] && ! grep -qE ' JobState=(PENDING|RUNNING|COMPLETING|CONFIGURING|REQUEUED)' <<<"$elements"
}
log_of() { cat "$T/here/sweep-${number}_$1.out"; } # index

sweep plan && grep -q -- '--array=0-23 ' "$T/out"
ok $? "the plan has the line to submit: $(grep -o -m 1 'sbatch .*' "$T/out" | sed "s|$T/||")"
mkdir -p "$(member 23)"
touch "$(member 23)/STOP"
array
waits() { [ "$(job_field "${number}_23" Restarts)" = 1 ] && [ "$(job_state "${number}_23")" = PENDING ]; }
patiently 120 waits
ok $? "member 23, which was stopped, is in the queue again"
rm "$(member 23)/STOP"
start_soon "${number}_23"
patiently 400 over
[ "$(job_show "$number" | grep -c ' Restarts=0 ')" = 23 ]
ok $? "the array has ended, nothing else of it ran twice"
sweep collect
ok $? "and is collected: $(head -n 1 "$T/out" | sed "s|$T/||")"
grep -q "^missing: $missing\$" "$T/out"
ok $? "without exactly those that failed: $(grep '^missing' "$T/out")"
grep '^  ' "$T/out" | sed 's/^/# /'
for k in $killed; do
    grep -q "^  $k (.*): failed: killed" "$T/out" && log_of "$k" | grep -q 'failed with status 137'
    ok $? "member $k was killed, says its log, too"
done
grep -q "^  $full (.*): failed: .*\(No space\|too large\)" "$T/out" && log_of $full | grep -q 'failed with status 4'
ok $? "member $full had no room: $(log_of $full | grep -m 1 '^redistill: error')"
grep -q -- '--array=5,11,17 ' "$T/out"
ok $? "the line that completes it is there"

: >"$T/healthy"
array
patiently 400 over
sweep collect && ! grep -q '^missing' "$T/out"
ok $? "the same line completes it: $(head -n 1 "$T/out" | sed "s|$T/||")"
again=0
for ((k = 0; k < 24; k++)); do
    case " $killed $full " in *" $k "*) continue ;; esac
    log_of $k | grep -q '] done' && ! log_of $k | grep -q '^sft ' || again=$((again + 1))
done
ok $again "members that were done trained no more"

# A member that was killed, and the one without room, against runs that nobody disturbed.  Traces are shared, and
# name the member that made them: their tables are compared.
traces() { h5dump -g "/$1" "$2/traces.h5" | tail -n +2; } # table directory
mv "$T/here/sweeps" "$T/array"
for k in 5 $full; do
    (cd "$T/here" && "$R" run --sweep "$T/spec.json" --index $k) >"$T/out" 2>"$T/err"
    other=$T/array/tiny/members/$(printf %04d $k) same=0
    for table in hypothesis application; do
        cmp -s <(traces $table "$(member $k)") <(traces $table "$other") || { echo "# $table differs"; same=1; }
    done
    rm "$(member $k)/traces.h5" "$other/traces.h5"
    same_run "$(member $k)" "$other" || same=1
    ok $same "member $k has the bits of an undisturbed one"
done
finish
