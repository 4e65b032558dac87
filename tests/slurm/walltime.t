#!/usr/bin/env bash
# jobs/run.sbatch with srun and with mpirun: the same bits as outside Slurm, also after the walltime's signal, a
# stop, a second turn in the queue and the rest of the run.
. tests/slurm/jobs.sh
slurm_begin 16

# The ranks of two jobs are held until Slurm's signal has come to each of them; meanwhile others run.
signal_waits() { # name: is USR1 pending on all its ranks?
    local p pending
    ! ended "$1" || return 0
    for p in $(ranks_of "$1"); do
        pending=$(sed -n 's/^ShdPnd:\t//p' "/proc/$p/status")
        ((0x${pending:-0} & 1 << (10 - 1))) || return 1
    done
}
for l in srun mpirun; do put limited-$l run $l --time=2 --signal=B:USR1@60 --; done
hold limited-srun limited-mpirun
for l in srun mpirun; do put by-$l run $l --; done
outside
for l in srun mpirun; do
    patiently 200 signal_waits limited-$l
    ! ended limited-$l && says limited-$l 'asked to stop'
    ok $? "$l: Slurm's signal before the walltime comes to all ranks"
    let_go limited-$l
done
for l in srun mpirun; do
    patiently 120 back limited-$l
    job_is "${job[limited-$l]}" PENDING
    ok $? "$l: the job is in the queue again: $(log limited-$l | grep -o 'stopped; .*' | tail -n 1)"
    ! ended limited-$l || why limited-$l
    start_soon "${job[limited-$l]}"
done
for l in srun mpirun; do
    ended_as by-$l COMPLETED "a job with $l"
    same_bits by-$l "the same bits as outside Slurm"
    ended_as limited-$l COMPLETED "the job that was stopped"
    says limited-$l 'continues after step'
    ok $? "it continued: $(log limited-$l | grep -o -m 1 '[a-z-]*: continues after step.*')"
    same_bits limited-$l "to the same bits"
    [ "$(log limited-$l | grep -c 'redistill run --set')" = 2 ]
    ok $? "both turns are in one log"
done
finish
