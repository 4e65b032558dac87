#!/usr/bin/env bash
# No room: the disk becomes full, or files may not grow, at random moments of a run.  One clear line
# and status 4; with room again the same command ends as a run that had room all the time.
#
#   TRIES=n    limits on the file size (default 4)
. tests/kill.sh
fails_well() { [ $status = 4 ] && [ "$(grep -c '^redistill: error: ' "$T/err")" = 1 ]; }
reference
RANDOM=${SEED:-$$}
echo "# seed ${SEED:-$$}"

# ---- a limit on the size of files
bad=0 hit=0 last=
for ((k = 0; k < ${TRIES:-4}; k++)); do
    limit=$((4 + (RANDOM * 32768 + RANDOM) % ($(find "$T/whole" -name '*.h5' -size +0 -printf '%s\n' | sort -n | tail -n 1) / 1024)))
    # The limit holds for the ranks alone; their shared memory would be a file beyond it.
    # Every second run has the teacher's files already: the limit then meets the training.
    ((k % 2)) && rm -rf "$T/run" && mkdir "$T/run" && cp "$T/whole/"{traces.h5,datasets.h5,tokenizer.*} "$T/run"
    wrap=(bash -c "ulimit -f $limit"'; exec "$@"' -)
    OMPI_MCA_btl=tcp,self PMIX_MCA_gds=hash run run
    wrap=()
    if [ $status != 0 ]; then
        hit=$((hit + 1)) last=$(grep -m 1 '^redistill: error' "$T/err")
        fails_well || { bad=$((bad + 1)); echo "# $limit KiB: status $status: $(grep '^redistill' "$T/err")"; }
    fi
    [ -z "$(find "$T/run" -name '*.tmp')" ] || { bad=$((bad + 1)); find "$T/run" -name '*.tmp' | sed 's/^/# left over: /'; }
done
ok $bad "$hit of ${TRIES:-4} runs met a limit on the file size; last: ${last//$T\/run\//}"
run run
[ $status = 0 ] && same_run "$T/whole" "$T/run"
ok $? "and without it the run ended as it should"

# ---- a full disk
rm -rf "$T/run" && mkdir "$T/run"
if mount -t tmpfs -o size=32m tmpfs "$T/run" 2>/dev/null; then
    trap 'umount -l "$T/run"; clean_up' EXIT
    # Full from the moment when one of these is there; the next run goes on to the next.  The ranks
    # sleep while the disk is filled, but on a busy machine a stage may have ended before.
    hit=0
    for sign in LOCK traces.h5 tokenizer.key 'arms/imitation/checkpoints/sft-0*[05].h5' 'arms/redis/checkpoints/align-0*.h5' \
        'arms/redis/eval.*.journal'; do
        start run
        until compgen -G "$T/run/$sign" >/dev/null; do alive "$mpirun_pid" || break; done
        mapfile -t pids < <(pgrep -P "$mpirun_pid")
        kill -STOP "${pids[@]}" 2>/dev/null
        head -c 32m /dev/zero >"$T/run/ballast" 2>/dev/null
        kill -CONT "${pids[@]}" 2>/dev/null
        await_end
        [ $status = 0 ] || hit=$((hit + 1))
        [ $status = 0 ] || fails_well
        ok $? "a full disk after ${sign##*/}: status $status: $(grep -m 1 '^redistill: error' "$T/err" | sed "s|$T/run/||g")"
        rm "$T/run/ballast"
    done
    [ $hit -ge 3 ]
    ok $? "$hit of 6 runs met a full disk"
    run run
    [ $status = 0 ] && same_run "$T/whole" "$T/run"
    ok $? "and with room again the run ended as it should"
else
    ok 0 "a full disk # SKIP no right to mount a small file system"
fi
finish
