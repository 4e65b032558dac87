#!/usr/bin/env bash
# A bit flipped anywhere in any file of a run: one clear line, or the file is made again; never
# another result.  (test_seal flips hundreds of bits; here the whole program meets them.)
#
#   FLIPS=n    per file (default 1)
. tests/kill.sh
flip() { # file position bit
    perl -e 'open F, "+<", $ARGV[0]; seek F, $ARGV[1], 0; read F, $b, 1; seek F, $ARGV[1], 0;
        print F chr(ord($b) ^ (1 << $ARGV[2]))' "$1" "$2" "$3"
}
reference
RANDOM=${SEED:-$$}
echo "# seed ${SEED:-$$}"
for f in traces.h5 datasets.h5 tokenizer.json tokenizer.key arms/redis-sft/checkpoints/sft-final.h5 \
    arms/redis-sft/checkpoints/sft-branch.h5 arms/redis/checkpoints/align-final.h5 arms/redis/predictions.h5 \
    arms/redis-sft/metrics.h5; do
    for ((k = 0; k < ${FLIPS:-1}; k++)); do
        rm -rf "$T/run" && cp -r "$T/whole" "$T/run"
        at=$(((RANDOM * 32768 + RANDOM) % $(stat -c %s "$T/run/$f")))
        flip "$T/run/$f" $at $((RANDOM % 8))
        run run
        case $status in
        3) [ "$(grep -c '^redistill: error: ' "$T/err")" = 1 ] && grep -q "^redistill: error: .*${f##*/}: " "$T/err" ;;
        0) [ "${f##*/}" = metrics.h5 ] || same_run "$T/whole" "$T/run" ;; # nobody reads a finished stage's metrics
        *) false ;;
        esac
        ok $? "$f, byte $at: status $status, $(grep -m 1 -E '^redistill: (warning|error)' "$T/err" | sed "s|$T/run/||g")"
    done
done

rm -rf "$T/run" && cp -r "$T/whole" "$T/run" && rm "$T/run/arms/redis-sft/checkpoints/sft-branch.h5"
run run
[ $status = 0 ] && same_run "$T/whole" "$T/run"
ok $? "a branch that was removed is made again: $(grep -m 1 warning "$T/err" | sed "s|$T/run/||g")"

# ---- a journal: records that do not fit their sums are worked on again
rm -rf "$T/run"
run augment --fault augment:1:kill
j=$(ls -S "$T"/run/augment.*.journal | head -n 1)
flip "$j" $(($(stat -c %s "$j") / 2)) 3
run run
[ $status = 0 ] && same_run "$T/whole" "$T/run"
ok $? "a damaged journal: the run ends as it should"

# ---- metrics that the run would append to
rm -rf "$T/run"
run sft 2>/dev/null # there are no datasets yet
cp "$T/whole/"{traces.h5,datasets.h5,tokenizer.*} "$T/run"
mkdir -p "$T/run/arms/redis/checkpoints" "$T/run/arms/redis-sft/checkpoints"
cp "$T/whole/arms/redis-sft/checkpoints/"* "$T/run/arms/redis-sft/checkpoints/"
run align --fault checkpoint:0
flip "$T/run/arms/redis/metrics.h5" 700 2
run align
[ $status = 3 ] && grep -q '^redistill: error: .*arms/redis/metrics.h5: damaged file' "$T/err"
ok $? "damaged metrics are not appended to: $(grep -m 1 '^redistill: error' "$T/err" | sed "s|$T/run/||g")"
finish
