#!/usr/bin/env bash
# How jobs of jobs/run.sbatch end: cancelled, killed, stopped by a file, refused; what goes back into the queue
# and what does not.  Threads, copies on the nodes' disks, and jobs/large.sbatch.
. tests/slurm/jobs.sh
slurm_begin 16

for l in srun mpirun; do put cancelled-$l run $l --; put broken-$l run $l --; done
hold {cancelled,broken}-{srun,mpirun}
for l in srun mpirun; do
    scancel "${job[cancelled-$l]}"
    let_go cancelled-$l
    kill -9 "$(ranks_of broken-$l | tail -n 1)"
    let_go broken-$l
done
for l in srun mpirun; do
    ended_as cancelled-$l CANCELLED "cancelled, with $l"
    [ "$(job_field "${job[cancelled-$l]}" Restarts)" = 0 ]
    ok $? "and not put back into the queue"
    ended_as broken-$l FAILED "a rank killed, with $l"
done
for l in srun mpirun; do put cancelled-$l run $l --; put broken-$l run $l --; done
outside
for name in {cancelled,broken}-{srun,mpirun}; do
    ended_as $name COMPLETED "$name, the same line again"
    same_bits $name "to the bits of an unbroken run"
done

mkdir -p "$T"/{stopped,circle}/run "$T/disk"
touch "$T"/{stopped,circle}/run/STOP
RD_MIN_SECONDS=1000 put stopped run srun --
RD_REQUEUES=1 put circle run srun --
for l in srun mpirun; do
    put input-$l run $l -- --set sft.lr=-1
    put output-$l run $l -- --set run.dir=/proc/none
    put threads-$l run $l --cpus-per-task=2 --
done
RD_LOCAL=$T/disk RD_COPY="prompts=$PWD/inputs/prompts/terse.json" put copies run srun --
ended_as stopped FAILED "a file STOP"
says stopped 'a file STOP'
ok $? "is named, and the job is not put back into the queue"
patiently 120 back circle
start_soon "${job[circle]}"
ended_as circle FAILED "a job that makes no headway"
says circle 'not put back into the queue, where it was 1 times'
ok $? "goes round no oftener than RD_REQUEUES says"
for l in srun mpirun; do
    ended_as input-$l FAILED "a wrong config, with $l"
    [ "$(job_field "${job[input-$l]}" ExitCode)" = 3:0 ]
    ok $? "has the program's status"
    ended_as output-$l FAILED "no directory to write to, with $l"
    [ "$(job_field "${job[output-$l]}" ExitCode)" = 4:0 ]
    ok $? "has the program's status"
    ended_as threads-$l COMPLETED "two CPUs per task, with $l"
    says threads-$l "$RANKS ranks x 2 threads"
    ok $? "are two threads per rank"
done
ended_as copies COMPLETED "a copy on the node's disk"
grep -q "\"$T/disk/redistill-${job[copies]}/terse.json\"" "$T/copies/run/manifest.json"
ok $? "is what the program read"
[ -z "$(ls "$T/disk")" ]
ok $? "and is gone"

# jobs/large.sbatch on four ranks
CONFIG=tests/inputs/mini.json
RANKS=4 RD_GRID="2 2 1" put large large srun --
ended_as large COMPLETED "jobs/large.sbatch"
says large 'data 2 x rows 2 x cols 1' && says large '^plan'
ok $? "plans, then runs on its grid"
finish
