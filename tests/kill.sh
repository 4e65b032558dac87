#!/usr/bin/env bash
# Kills runs at random moments and starts the same command again until it ends well; the files must
# then be those of a run that nobody disturbed, bit for bit.
#
#   tests/kill.sh [KILLS [SEED]]     BUILD=build MPIRUN=mpirun LAYOUTS="ranks options;…"
#
# The kills are spread evenly over layouts: ranks and grids, sharded moments, adapters.
# SIGKILL hits one rank, all ranks, or mpirun.  Every third kill waits for a file being written.
# tests/kill.t sources this file for its functions.
set -u
. tests/shell.sh
RANKS=${RANKS:-2}
EXTRA=${EXTRA:-} # options of every run
wrap=()          # what starts a rank
CONFIG=tests/inputs/kill.json
export SOURCE_DATE_EPOCH=0 # files of equal runs are equal
trap 'clean_up' EXIT
trap 'exit 1' INT TERM
mpirun_pid=
pids=()

now() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); } # milliseconds
# A process of ours that still lives: zombies have no command line.
alive() { grep -aqsF "$T/run" "/proc/$1/cmdline"; }
left_over() { grep -als "$T[/]run" /proc/[0-9]*/cmdline 2>/dev/null; } # the pattern is not its own match
clean_up() {
    local p
    for p in "${pids[@]}" $mpirun_pid; do alive "$p" && kill -9 "$p"; done
    rm -rf "$T"
}

# The run happens in $T/run always, since the files hold the name of its directory.
start() { # command extra…
    local command=$1
    shift
    # shellcheck disable=SC2086
    "$MPIRUN" -n "$RANKS" "${wrap[@]}" "$BUILD/redistill" "$command" "$CONFIG" --set "run.dir=$T/run" $EXTRA "$@" >"$T/out" 2>"$T/err" &
    mpirun_pid=$!
    pids=()
    until alive "$mpirun_pid" || ! kill -0 "$mpirun_pid" 2>/dev/null; do :; done # before exec it is a shell like this
}
await_end() { # leaves status; a run that hangs is ended
    local i
    for ((i = 0; i < 1800; i++)); do
        alive "$mpirun_pid" || break
        sleep 0.1
    done
    if ((i == 1800)); then
        echo "# hangs: $(tail -n 1 "$T/err")"
        kill -9 "$mpirun_pid"
    fi
    wait "$mpirun_pid" 2>/dev/null
    status=$?
}
run() {
    start "$@"
    await_end
}

# Kill what `whom` says and wait until all of the run is gone.  Status 1: it had ended before.
strike() { # one | all | mpirun
    local p i victims
    mapfile -t pids < <(pgrep -P "$mpirun_pid")
    alive "$mpirun_pid" || return 1
    case $1 in
    one) victims=("${pids[RANDOM % (${#pids[@]} + (${#pids[@]} == 0))]:-$mpirun_pid}") ;;
    all) victims=("${pids[@]:-$mpirun_pid}") ;;
    *) victims=("$mpirun_pid") ;;
    esac
    kill -9 "${victims[@]}" 2>/dev/null || return 1
    wait "$mpirun_pid" 2>/dev/null
    for ((i = 0; i < 150; i++)); do
        [ -n "$(left_over)" ] || return 0
        sleep 0.1
    done
    echo "# left over 15 s after a kill of $1: $(left_over)"
    failures=$((failures + 1))
    for p in "${pids[@]}"; do alive "$p" && kill -9 "$p"; done
    return 0
}
being_written() { compgen -G "$T/run/*.tmp" || compgen -G "$T/run/arms/*/*.tmp" || compgen -G "$T/run/arms/*/checkpoints/*.tmp"; } >/dev/null

# The stage that the files speak of.
stage() {
    local d=$T/run
    if [ ! -s "$T/out" ]; then echo start
    elif [ ! -e "$d/traces.h5" ]; then echo augment
    elif [ ! -e "$d/datasets.h5" ]; then echo filter
    elif [ ! -e "$d/tokenizer.key" ]; then echo tokenizer
    elif [ ! -e "$d/arms/redis-sft/checkpoints/sft-final.h5" ]; then echo sft
    elif [ ! -e "$d/arms/redis/checkpoints/align-final.h5" ]; then echo align
    elif [ ! -e "$d/arms/redis/predictions.h5" ]; then echo eval
    else echo report; fi
}

results() { sed -n '/^ *"results"/,/^ *"timing"/p' "$1/report.json"; }
# Is the run in $1 that in $2?  Says where not.  What the clock enters is left out.
same_run() {
    local f table equal=0
    diff <(cd "$1" && find . -type f | sort) <(cd "$2" && find . -type f | sort) | sed 's/^/# files: /'
    [ "${PIPESTATUS[0]}" = 0 ] || equal=1
    while read -r f; do
        case $f in
        */metrics.h5)
            for table in sft align; do
                h5ls "$1/$f/$table" >/dev/null 2>&1 || continue
                cmp -s <(h5dump -m %.17g -g "/$table" "$1/$f" | tail -n +2) <(h5dump -m %.17g -g "/$table" "$2/$f" | tail -n +2) ||
                    { echo "# $f: $table differs"; equal=1; }
            done ;;
        *) cmp -s "$1/$f" "$2/$f" || { echo "# $f differs"; equal=1; } ;;
        esac
    done < <(cd "$1" && find . -name '*.h5' -o -name tokenizer.json)
    if [ -e "$1/report.json" ]; then
        cmp -s <(results "$1") <(results "$2") || { echo "# results differ"; equal=1; }
    fi
    return $equal
}

# An undisturbed run in $T/whole; leaves its time and that of a start alone.
reference() {
    local begun
    rm -rf "$T/run"
    begun=$(now)
    run run
    whole_ms=$(($(now) - begun))
    [ $status = 0 ] && [ "$(results "$T/run" | wc -l)" -gt 10 ] || { sed 's/^/# /' "$T/err"; echo "Bail out! no run to compare with"; exit 1; }
    rm -rf "$T/whole"
    cp -r "$T/run" "$T/whole"
    begun=$(now)
    run run
    start_ms=$(($(now) - begun))
    rm -rf "$T/run"
}

# One run, killed up to $1 times; adds to kills and failures.
declare -A hits
disturbed_run() {
    local left=$whole_ms wanted=$1 delay k whom at
    rm -rf "$T/run"
    for ((k = 0; k < wanted; k++)); do
        whom=(one all mpirun)
        whom=${whom[RANDOM % 3]}
        delay=$((RANDOM * 32768 + RANDOM))
        delay=$((delay % left))
        start run
        sleep "$((delay / 1000)).$(printf %03d $((delay % 1000)))"
        if ((RANDOM % 3 == 0)); then
            # Looked for now and then: without a pause this loop would take a core from the ranks.
            while alive "$mpirun_pid" && ! being_written; do sleep 0.002; done
        fi
        strike "$whom" || break
        at=$(stage)
        kills=$((kills + 1))
        hits[$at]=$((${hits[$at]:-0} + 1))
        ! being_written || hits[writing]=$((${hits[writing]:-0} + 1))
        # What was done need not be done again: the next delay falls into what is left.
        ((delay <= start_ms)) || left=$((left - delay + start_ms))
        ((left >= start_ms)) || left=$start_ms
    done
    await_end # of the run that ended before its kill
    ((k < wanted)) || run run
    if [ $status != 0 ]; then
        echo "# after $k kills: status $status: $(grep -m 1 '^redistill: ' "$T/err")"
    elif same_run "$T/whole" "$T/run"; then
        return 0
    fi
    failures=$((failures + 1))
    echo "# the run above was killed $k times, last by $whom in $at"
    [ -z "${KEEP:-}" ] || cp -r "$T" "$KEEP.$failures"
    return 1
}
kill_runs() { # kills seed
    local n
    kills=0 failures=0 runs=0
    RANDOM=$2
    while ((kills < $1)); do
        n=$((2 + RANDOM % 4))
        ((n <= $1 - kills)) || n=$(($1 - kills))
        disturbed_run $n
        runs=$((runs + 1))
    done
    [ -z "$(left_over)" ] || { echo "# left over: $(left_over)"; failures=$((failures + 1)); }
    echo "# $kills kills of $runs runs at $RANKS ranks${EXTRA:+ ($EXTRA)}, seed $2, $failures failures; hit:$(for s in "${!hits[@]}"; do printf ' %s %s' "$s" "${hits[$s]}"; done)"
}

[ "${BASH_SOURCE[0]}" = "$0" ] || return 0
layouts="2;4 --set grid.rows=2;2 --set grid.rows=2;2 --set grid.cols=2;3"
has_key() { "$BUILD/redistill" --help keys | grep -q "^ *$1 "; }
! has_key sft.shard_optimizer || layouts+=";2 --set sft.shard_optimizer=true --set align.shard_optimizer=true"
! has_key sft.adapter.kind || layouts+=";2 --set sft.adapter.kind=lora"
IFS=';' read -ra layouts <<<"${LAYOUTS:-$layouts}"
todo=${1:-20} total=0 all_failures=0
for ((l = 0; l < ${#layouts[@]}; l++)); do
    read -r RANKS EXTRA <<<"${layouts[l]}"
    share=$((todo * (l + 1) / ${#layouts[@]} - todo * l / ${#layouts[@]}))
    [ $share -gt 0 ] || continue
    hits=()
    reference
    echo "# undisturbed $whole_ms ms, start alone $start_ms ms"
    kill_runs $share $((${2:-1} + l))
    total=$((total + kills)) all_failures=$((all_failures + failures))
done
echo "# $total kills, $all_failures failures"
[ $all_failures = 0 ]
