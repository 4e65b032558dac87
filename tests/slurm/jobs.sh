#!/usr/bin/env bash
# What the tests of jobs/ on a private Slurm have in common; sourced first.  (slurm.sh is the Slurm, kill.sh
# compares runs.)
# shellcheck shell=bash
# Dozens of runs write checkpoints, and a busy disk takes seconds for each.
room=$(df --output=avail /dev/shm 2>/dev/null | tail -n 1)
((${room:-0} < 500000)) || export TMPDIR=/dev/shm
. tests/kill.sh
. tests/slurm/slurm.sh
trap 'slurm_stop; clean_up' EXIT

# A run called NAME is in $T/NAME/run; to the run itself it is always "run", since files hold that name.
options="--set sft.checkpoint_every=20 --set align.checkpoint_every=10 --set run.dir=run"
export RD_HOME=$PWD RD_BIND=none RD_MIN_SECONDS=0 OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_btl_vader_backing_directory=$T # ranks that are killed leave their shared memory
declare -A job # number of the job of each name
put() { # name script launcher sbatch-options… -- program-options…
    local name=$1 script=$2 launcher=$3 slurm=()
    shift 3
    while [ "$1" != -- ]; do slurm+=("$1"); shift; done
    shift
    mkdir -p "$T/$name"
    # shellcheck disable=SC2086
    job[$name]=$(RD_LAUNCHER=$launcher sbatch --parsable --chdir="$T/$name" --nodes=1 --ntasks-per-node="$RANKS" "${slurm[@]}" "jobs/$script.sbatch" \
        "$PWD/$CONFIG" $options "$@")
}
log() { cat "$T/$1"/*-"${job[$1]}".out 2>/dev/null; }
why() { log "$1" | tail -n 15 | sed 's/^/# /'; }
ended() { job_ended "${job[$1]}"; }
ended_as() { # name state text: whatever the end is waited for
    local as
    patiently 300 ended "$1"
    job_is "${job[$1]}" "$2"
    as=$?
    ok $as "$3: $(job_state "${job[$1]}"), exit code $(job_field "${job[$1]}" ExitCode), restarts $(job_field "${job[$1]}" Restarts)"
    [ $as = 0 ] || why "$1"
}
says() { log "$1" | grep -q -- "$2"; } # name pattern
back() { ended "$1" || { [ "$(job_field "${job[$1]}" Restarts)" = 1 ] && job_is "${job[$1]}" PENDING; }; } # in the queue once more

ranks_of() { # name: the pids of its ranks
    local p
    for p in $(pgrep -x redistill); do
        [ "$(readlink "/proc/$p/cwd")" != "$T/$1" ] || echo "$p"
    done
}
in_training() { compgen -G "$T/$1/run/arms/*/checkpoints/sft-0*.h5" >/dev/null || ended "$1"; }
# Ranks in training are held there, however fast the machine is.
hold_one() {
    patiently 200 in_training "$1"
    local pids
    mapfile -t pids < <(ranks_of "$1")
    [ ${#pids[@]} = "$RANKS" ] && kill -STOP "${pids[@]}"
}
hold() { # names: at the same time
    local name watchers=()
    for name in "$@"; do hold_one "$name" & watchers+=($!); done
    for name in "$@"; do
        wait "${watchers[0]}"
        ok $? "$name: $RANKS ranks are in training"
        watchers=("${watchers[@]:1}")
    done
}
# Slurm keeps a job that was put back for two minutes.  Not quite so long; but what it starts in the second in
# which the job was put back it takes for the killed one ("Job credential revoked").
start_soon() { scontrol update jobid="$1" starttime=now+3; } # number
let_go() { # name
    local pids
    mapfile -t pids < <(ranks_of "$1")
    [ ${#pids[@]} = 0 ] || kill -CONT "${pids[@]}"
}
# A run that nobody touched, outside Slurm: what all others are compared with.
outside() {
    mkdir "$T/whole"
    # shellcheck disable=SC2086
    (cd "$T/whole" && "$MPIRUN" -n "$RANKS" "$RD_HOME/$BUILD/redistill" run "$RD_HOME/$CONFIG" $options) >"$T/out" 2>"$T/err"
    ok $? "a run outside Slurm"
}
same_bits() { # name text
    same_run "$T/whole/run" "$T/$1/run"
    ok $? "$2"
}
