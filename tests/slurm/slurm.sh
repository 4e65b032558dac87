#!/usr/bin/env bash
# A private Slurm of one node, for tests that source this file: munge, slurmctld and slurmd of Debian's
# packages, as root, without systemd, in the directory $T of whoever sources it.  Ports, sockets, states and job
# numbers are its own, so that several may run at once; slurm_stop leaves no process behind.
# shellcheck shell=bash
PATH=$PATH:/usr/sbin:/sbin
slurm_pids=()

# Why there cannot be a Slurm here, in one line; status 1: there can.
slurm_missing() {
    local p
    for p in munged slurmctld slurmd sbatch srun scontrol squeue scancel sinfo; do
        command -v $p >/dev/null || { echo "$p is not installed (slurm-wlm, munge)"; return 0; }
    done
    [ "$(id -u)" = 0 ] || { echo "a Slurm can be started by root alone"; return 0; }
    return 1
}

patiently() { # seconds command…: until it succeeds
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < until)) || return 1
        sleep 0.1
    done
}

free_port() {
    local p
    while p=$((20000 + RANDOM % 12000)); (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null; do :; done
    echo $p
}

# The node pretends to have $1 cores: jobs wait for them, no process is bound to them.
slurm_configure() {
    local host
    host=$(hostname -s)
    mkdir -p "$T"/slurm/{state,spool,tmp}
    cat >"$T/slurm/slurm.conf" <<EOS
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$T/slurm/munge.socket
CredType=cred/munge
StateSaveLocation=$T/slurm/state
SlurmdSpoolDir=$T/slurm/spool
TmpFS=$T/slurm/tmp
SlurmctldPidFile=$T/slurm/slurmctld.pid
SlurmdPidFile=$T/slurm/slurmd.pid
SlurmctldLogFile=$T/slurm/slurmctld.log
SlurmdLogFile=$T/slurm/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=1
FirstJobId=$((1000 + RANDOM))
MinJobAge=86400
OverTimeLimit=5
KillWait=60
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$1
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP
EOS
}

slurm_ready() { [ "$(sinfo -h -o %T 2>/dev/null)" = idle ]; }

# Daemons die with this shell, even if it is killed.
slurm_daemon() { # name command…
    local name=$1
    shift
    setpriv --pdeathsig TERM "$@" >"$T/slurm/$name.out" 2>&1 &
    slurm_pids+=($!)
}

slurm_start() { # cores
    local try
    for try in 1 2 3; do # another's port may be taken between looking and listening
        slurm_configure "$1"
        (umask 077; head -c 1024 /dev/urandom >"$T/slurm/munge.key")
        export SLURM_CONF=$T/slurm/slurm.conf
        slurm_daemon munged munged --foreground --force --num-threads=2 --key-file="$T/slurm/munge.key" --socket="$T/slurm/munge.socket" \
            --pid-file="$T/slurm/munged.pid" --log-file="$T/slurm/munged.log" --seed-file="$T/slurm/munged.seed"
        patiently 60 test -S "$T/slurm/munge.socket"
        slurm_daemon slurmctld slurmctld -D
        slurm_daemon slurmd slurmd -D
        ! patiently 90 slurm_ready || return 0
        tail -n 5 "$T/slurm"/*.{out,log} 2>/dev/null | sed 's/^/# /'
        slurm_stop
        rm -rf "$T/slurm"
    done
    return 1
}

# What a TAP file begins with: skip, bail out, or a Slurm.
slurm_begin() { # cores
    local why
    if why=$(slurm_missing); then
        echo "1..0 # SKIP $why"
        exit 0
    fi
    slurm_start "$1" || { echo "Bail out! Slurm did not start"; exit 1; }
}

# Jobs' processes: those told of our slurm.conf, and Slurm's own, which have our files open.
slurm_processes() {
    local p
    for p in /proc/[0-9]*; do
        p=${p#/proc/}
        [ "$p" != $$ ] || continue
        if grep -qszF "SLURM_CONF=$T/" "/proc/$p/environ" || find "/proc/$p/fd" -lname "$T/slurm/*" 2>/dev/null | grep -q .; then
            echo "$p"
        fi
    done
}
slurm_no_jobs() { [ -z "$(squeue -h -o %A 2>/dev/null)" ]; }
slurm_stop() {
    local p
    # shellcheck disable=SC2046
    [ ${#slurm_pids[@]} = 0 ] || slurm_no_jobs ||
        { scancel --signal=KILL --full $(squeue -h -o %A) 2>/dev/null; scancel $(squeue -h -o %A) 2>/dev/null; patiently 20 slurm_no_jobs; }
    for p in "${slurm_pids[@]}"; do kill "$p" 2>/dev/null; done
    for p in "${slurm_pids[@]}"; do wait "$p" 2>/dev/null; done
    for p in $(unset SLURM_CONF; slurm_processes); do kill -9 "$p" 2>/dev/null; done
    slurm_pids=()
}

job_show() { scontrol -o show job "$1" 2>/dev/null; } # number
job_field() { job_show "$1" | grep -o " $2=[^ ]*" | head -n 1 | cut -d= -f2; } # number field
job_state() { job_field "$1" JobState; }
job_is() { [[ " $2 " = *" $(job_state "$1") "* ]]; } # number states
job_ended() { job_is "$1" "COMPLETED FAILED CANCELLED TIMEOUT NODE_FAIL OUT_OF_MEMORY BOOT_FAIL DEADLINE"; }
