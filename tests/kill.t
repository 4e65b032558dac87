#!/usr/bin/env bash
# Runs that are killed, and checkpoints that are damaged, as users meet them (see kill.sh).
. tests/kill.sh
reference

# ---- kills
kill_runs "${KILLS:-4}" "${SEED:-$$}"
[ $failures = 0 ]
ok $? "$kills kills, seed ${SEED:-$$}: each run ended in the state of an undisturbed one"
mv "$T/whole" "$T/two"
RANKS=4 EXTRA="--set grid.rows=2"
reference
kill_runs "${KILLS:-3}" "${SEED:-$$}"
[ $failures = 0 ]
ok $? "$kills kills on 2 x (2 x 1) ranks: the same"
rm -rf "$T/whole"
mv "$T/two" "$T/whole"
RANKS=2 EXTRA=

# ---- damaged checkpoints
# A run killed in its first SFT, with two steps' files; $T/base holds it, newest and older are the
# names of the two files.
arm=arms/imitation
here=$T/run/$arm/checkpoints
steps() { (cd "$here" 2>/dev/null && ls -r sft-[0-9]*.h5 2>/dev/null); }
for try in 1 2 3; do
    rm -rf "$T/run" && mkdir "$T/run"
    cp "$T/whole/"{traces.h5,datasets.h5,tokenizer.*} "$T/run"
    start sft --set sft.checkpoint_every=10
    while alive "$mpirun_pid" && [ ! -e "$here/sft-000030.h5" ]; do :; done
    strike all
    [ "$(steps | wc -l)" -lt 2 ] || break # else it came between a file and the next
done
mapfile -t files < <(steps)
newest=${files[0]:-} older=${files[1]:-}
[ -n "$older" ]
ok $? "a killed run keeps two checkpoints: $newest, $older"
cp -r "$T/run" "$T/base"

flip() { # file position: one bit
    perl -e 'open F, "+<", $ARGV[0]; seek F, $ARGV[1], 0; read F, $b, 1; seek F, $ARGV[1], 0;
        print F chr(ord($b) ^ 16)' "$1" "$2"
}
# continues FROM WHAT: the stage ends well, from the file FROM ("": the beginning), with the weights
# of an undisturbed run, and every file passed over is named.
continues() {
    local from=${1%.h5} what=$2 named=0 f good=1
    run sft --set sft.checkpoint_every=10
    for f in "${damaged[@]}"; do grep -q "warning: .*$f" "$T/err" || named=1; done
    if [ -n "$from" ]; then
        grep -q "continues after step $((10#${from//[^0-9]/})) " "$T/out" || good=0
    else
        ! grep -q 'continues after step' "$T/out" || good=0
    fi
    [ "$status$named$good" = 001 ] && cmp_weights
    ok $? "$what: $(grep -m 1 warning "$T/err" | sed "s|$T/run/$arm/||")"
}
# The config attribute differs (checkpoint_every), so the arrays and the steps' losses are compared.
cmp_weights() {
    h5diff -q "$T/whole/$arm/checkpoints/sft-final.h5" "$here/sft-final.h5" /weights /weights &&
        h5diff -q "$T/whole/$arm/metrics.h5" "$T/run/$arm/metrics.h5" /sft /sft
}
again() { # files to be damaged…
    rm -rf "$T/run" && cp -r "$T/base" "$T/run"
    damaged=("$@")
}
size=$(stat -c %s "$here/$newest")
again
continues "$newest" "undamaged"
for part in 2 6; do # among the weights, among the moments
    again "$newest"
    flip "$here/$newest" $((size * part / 8))
    continues "$older" "a bit flipped at $part/8 of the newest"
done
again "$newest"
head -c $((size / 2)) "$T/base/$arm/checkpoints/$newest" >"$here/$newest"
continues "$older" "the newest cut in half"
again "$newest"
: >"$here/$newest"
continues "$older" "the newest empty"
again "$newest" "$older"
flip "$here/$newest" $((size / 2))
flip "$here/$older" $((size / 2))
continues "" "both damaged"
again "$newest"
cp "$T/whole/arms/redis-sft/checkpoints/sft-final.h5" "$here/$newest"
continues "$older" "the newest of another arm"

# ---- damaged results
rm -rf "$T/run" && cp -r "$T/whole" "$T/run"
damaged=("sft-final.h5")
flip "$here/sft-final.h5" $(($(stat -c %s "$here/sft-final.h5") / 2))
run sft
[ $status = 0 ] && grep -q 'warning: .*sft-final.h5' "$T/err" && cmp -s "$here/sft-final.h5" "$T/whole/$arm/checkpoints/sft-final.h5"
ok $? "final weights with a flipped bit are made again: $(grep -m 1 warning "$T/err" | sed "s|$T/run/$arm/||")"
again
cp "$T/whole/$arm/checkpoints/"sft-*.h5 "$here/"
run sft --set model.init.width=32
[ $status = 0 ] && grep -q 'warning: .*sft-final.h5 belongs to another run' "$T/err"
ok $? "a checkpoint of another model: $(grep -m 1 warning "$T/err" | sed "s|$T/run/$arm/||")"
rm -rf "$T/run" && cp -r "$T/whole" "$T/run"
cp "$here/sft-final.h5" "$here/sft-000012.h5" # as if killed right after the final file was there
: >"$here/sft-000007.h5.tmp"                  # or while a stop was being saved
run sft
[ $status = 0 ] && same_run "$T/whole" "$T/run"
ok $? "files that kills left over are removed"
rm "$T/run/arms/redis/checkpoints/align-final.h5"
flip "$T/run/arms/redis-sft/checkpoints/sft-branch.h5" $((size / 4))
run align
[ $status = 3 ] && [ "$(grep -c '^redistill: error: .*sft-branch.h5' "$T/err")" = 1 ]
ok $? "a damaged start of alignment: status $status: $(grep -m 1 '^redistill: error' "$T/err" | sed "s|$T/run/||")"
finish
