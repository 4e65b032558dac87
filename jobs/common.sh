# common.sh: sourced by the job scripts.  Starts the program on what the allocation gives, hands it the
# request to stop, and puts the job back into the queue when it stopped before its end.
# shellcheck shell=bash

program=${RD_PROGRAM:-$RD_HOME/build/redistill}
threads=${SLURM_CPUS_PER_TASK:-1}
# The number of an array means all its members; one member is named by two numbers.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}
child='' caught='' cancelled='' status=''
options=(--set "grid.threads=$threads")

say() { echo "[$(date +%FT%T) job $job] $*"; }

# Slurm's USR1 comes to this shell alone (--signal=B:USR1@…).  It is handed to the launcher, and srun and
# mpirun hand it to every rank on every node.  (Without "B:" Slurm signals the steps of srun but not
# the ranks that mpirun started beside this shell.)  TERM comes when the job is cancelled or over.
trap 'caught=1; say "asked to stop: the end of the job is near"; hand_on' USR1
trap 'caught=1 cancelled=1; say "ended from outside"; hand_on' TERM
hand_on() { [ -z "$child" ] || kill -USR1 "$child"; }

# Modules, or whatever else the site needs, from a file of yours.
# shellcheck disable=SC1091
[ ! -e "$RD_HOME/jobs/modules.sh" ] || . "$RD_HOME/jobs/modules.sh"
export OMP_NUM_THREADS=$threads OPENBLAS_NUM_THREADS=1

# Ranks come from the allocation.  Since Slurm 22.05 srun does not take the CPUs per task from it.
case $RD_LAUNCHER:$RD_BIND in
srun:*) launcher=(srun --mpi=pmix --export=ALL "--cpus-per-task=$threads" "--cpu-bind=$RD_BIND") ;;
mpirun:cores) launcher=(mpirun -n "$SLURM_NTASKS" --map-by "slot:PE=$threads" --bind-to core) ;;
mpirun:none) launcher=(mpirun -n "$SLURM_NTASKS" --bind-to none) ;;
*) say "RD_LAUNCHER is srun or mpirun, RD_BIND cores or none"; exit 2 ;;
esac

# RD_COPY: KEY=PATH …, copied to each node's own disk; the key then names the copy.
each_node() { srun --mpi=none --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" --ntasks-per-node=1 --cpus-per-task=1 "$@"; }
copies=''
copy_to_nodes() {
    local pair
    copies=$RD_LOCAL/redistill-$SLURM_JOB_ID
    export TMPDIR=$RD_LOCAL # shared memory of MPI, too
    each_node mkdir -p "$copies" || exit 1
    for pair in $RD_COPY; do
        each_node cp -rL "${pair#*=}" "$copies/" || exit 1
        options+=(--set "${pair%%=*}=$copies/$(basename "${pair#*=}")")
    done
}
[ -z "$RD_LOCAL" ] || copy_to_nodes

launch() { # COMMAND ARGUMENTS…: of redistill, on all ranks; does not return
    local command=$1
    shift
    [ -z "$caught" ] || { status=75; finish; }
    say "${launcher[*]} $program $command ${options[*]} $*"
    "${launcher[@]}" "$program" "$command" "${options[@]}" "$@" &
    child=$!
    caught=1
    while [ -n "$caught" ]; do # a signal ends `wait` before the program has ended
        caught=''
        wait "$child"
        status=$?
    done
    child=''
    finish
}

finish() {
    trap '' USR1 TERM # a job that is put back is ended first
    [ -z "$copies" ] || each_node rm -rf "$copies"
    case $status in
    0) say "done" ;;
    75) go_on ;;
    *) say "failed with status $status; when the cause is gone, the same line continues" ;;
    esac
    exit "$status"
}

# Stopped, resumable.  A job that makes no headway must not go round for ever.
go_on() {
    local times=${SLURM_RESTART_COUNT:-0}
    if [ -n "$cancelled" ]; then
        say "stopped; not put back into the queue, because it was ended from outside"
    elif [ "$SECONDS" -lt "$RD_MIN_SECONDS" ]; then
        say "stopped after $SECONDS s: a file STOP, or too short a time limit? Not put back into the queue"
    elif [ "$times" -ge "$RD_REQUEUES" ]; then
        say "stopped; not put back into the queue, where it was $times times"
    else
        say "stopped; goes back into the queue, the $((times + 1)). time of at most $RD_REQUEUES"
        scontrol requeue "$job" || say "Slurm refuses; the same line continues"
    fi
}
