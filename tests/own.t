#!/usr/bin/env bash
# Preference pairs of the student's own rules: the same on any number of ranks and after kills, what
# they depend on, beside the teacher's.
set -u
. tests/shell.sh
export SOURCE_DATE_EPOCH=0 # files of equal runs are equal
run() { # ranks command dir extra…: leaves status, out, err
    local ranks=$1 command=$2 dir=$3
    shift 3
    timeout -k 5 120 "$MPIRUN" -n "$ranks" "$R" "$command" tests/inputs/own.json --set "run.dir=$T/$dir" "$@" >"$T/out" 2>"$T/err"
    status=$?
}
says() { grep -q "$1" "$T/out" "$T/err"; ok $? "it says: $1"; }
# The config among the attributes names other directories.
same_tables() { # file file tables…
    local a=$1 b=$2 table
    shift 2
    for table; do h5diff -q "$a" "$b" "$table" "$table" >/dev/null 2>&1 || return 1; done
}
same_pairs() { # run run arm
    same_tables "$T/$1/arms/$3/own/traces.h5" "$T/$2/arms/$3/own/traces.h5" /task /example /hypothesis /application /text &&
        same_tables "$T/$1/arms/$3/own/datasets.h5" "$T/$2/arms/$3/own/datasets.h5" /pair /report /text
}
same_weights() { # run arm run arm
    h5diff -q "$T/$1/arms/$2/checkpoints/align-final.h5" "$T/$3/arms/$4/checkpoints/align-final.h5" /weights /weights
}
rows() { h5ls "$1/$2" 2>/dev/null | sed -n "s/^$3 *Dataset {\([0-9]*\)[^0-9].*/\1/p"; } # file table column

# ---- any number of ranks
for stage in augment filter sft; do run 2 $stage base; done
good "a student"
for r in 1 2 4; do
    cp -r "$T/base" "$T/r$r"
    run $r run r$r
    good "pairs of its own rules at $r ranks"
    [ $r = 1 ] && { grep '^pairs' "$T/out" | sed 's/^/# /'; continue; }
    for arm in own exact both; do
        same_pairs r1 r$r $arm
        ok $? "$arm: the same rules, scores and pairs as at 1"
        same_weights r1 $arm r$r $arm
        ok $? "$arm: the same weights"
    done
done
pairs=$(rows "$T/r1/arms/own/own/datasets.h5" pair family)
[ "${pairs:-0}" -gt 20 ] && [ "$(rows "$T/r1/arms/own/own/datasets.h5" sft family)" = 0 ]
ok $? "$pairs pairs, no rows"
[ "$(rows "$T/r1/arms/own/own/traces.h5" hypothesis task)" = 200 ]
ok $? "five rules for each of forty tasks"
for f in "$T"/r1/arms/*/own/*.h5; do
    "$R" inspect --check "$f" >"$T/checked" 2>&1
    ok $? "as its schema says: ${f#"$T"/}"
done
cat "$T/r1/report.txt" >"$T/out"
says '^pairs    own: acre  .* of its own rules, by gap 1:'
perl -MJSON::PP -0777 -e 'my $a = decode_json(<STDIN>)->{counts}{arms}; my $o = $a->{own}{own}; my $n = 0;
    $n += $_ for map { @{$o->{gaps}{$_}} } "acre", "list_function";
    exit !($o->{hypotheses} == 200 && $o->{applications} > 200 && $n == $o->{pairs}{acre} + $o->{pairs}{list_function} && $n == $ARGV[0] && $o->{tokens_out} > 0
        && !exists $a->{"redis-sft"}{own} && $a->{own}{align}{tokens} >= 6000)' "$pairs" <"$T/r1/report.json"
ok $? "report.json counts them, and their gaps"

# ---- the student and the interpreter score the same rules
same_tables "$T/r1/arms/own/own/traces.h5" "$T/r1/arms/exact/own/traces.h5" /hypothesis/task /hypothesis/tokens_out
ok $? "both scores are of the same rules"
same_tables "$T/r1/arms/own/own/traces.h5" "$T/r1/arms/exact/own/traces.h5" /hypothesis/score
[ $? = 1 ]; ok $? "and differ"
same_pairs r1 r1 own && ! same_weights r1 own r1 exact && ! same_weights r1 own r1 both
ok $? "three kinds of pairs, three students"

# ---- found again; what they depend on
inode() { stat -c %i "$T/$1"/arms/own/own/{traces,datasets}.h5 "$T/$1/arms/own/checkpoints/align-final.h5" | tr '\n' ' '; }
before=$(inode r2)
run 2 align r2
good "the same command again"
[ "$before" = "$(inode r2)" ] && [ "$(grep -c '^align .*already done' "$T/out")" = 3 ]
ok $? "finds all of it done"
run 2 eval r2
good "evaluation finds its weights"
run 2 align r2 --set arms.own.align.own.hypotheses=4
good "fewer rules"
[ "$(rows "$T/r2/arms/own/own/traces.h5" hypothesis task)" = 160 ] && [ "$(grep -c '^align .*already done' "$T/out")" = 2 ]
ok $? "are made anew, and so is what was trained on them"
run 2 align r2 --set arms.own.eval.follow_temperature=0.5 --set arms.own.align.own.hypotheses=4
[ $status = 0 ] && [ "$(grep -c '^align .*already done' "$T/out")" = 2 ]
ok $? "so it is with another temperature of following"

# ---- killed while rules are proposed, and stopped
rm -rf "$T/r4/arms/own/own" "$T/r4/arms/own/checkpoints/align-final.h5"
run 4 align r4 --fault augment:1:kill
[ $status != 0 ] && [ ! -e "$T/r4/arms/own/own/traces.h5" ] && ls "$T"/r4/arms/own/own/*journal* >/dev/null 2>&1
ok $? "a rank is killed: status $status"
run 2 align r4
good "the same command continues, on two ranks"
says 'blocks of tasks are in the journal'
same_pairs r1 r4 own && same_weights r1 own r4 own
ok $? "and ends as an undisturbed run"
rm "$T/r4/arms/own/own/datasets.h5" "$T/r4/arms/own/checkpoints/align-final.h5"
run 2 align r4 --fault filter:1:kill
[ $status != 0 ] && [ ! -e "$T/r4/arms/own/own/datasets.h5" ]
ok $? "killed while pairs are made: status $status"
run 4 align r4
good "the same command continues"
same_pairs r1 r4 own && same_weights r1 own r4 own
ok $? "and ends as an undisturbed run"

# ---- a replica of two ranks; adapters beside a published model
cp -r "$T/base" "$T/grid"
run 2 align grid --set grid.rows=2
good "on a grid of 2 x 1"
[ "$(rows "$T/grid/arms/own/own/datasets.h5" pair family)" -gt 20 ]
ok $? "pairs are made there too"
timeout 60 "$R" export "$T/base/arms/redis-sft/checkpoints/sft-final.h5" --to "$T/published" >"$T/out" 2>"$T/err"
ok $? "the student is published"
cp "$T"/base/{traces,datasets}.h5 "$(mkdir "$T/lora" && echo "$T/lora")/"
for stage in sft align; do
    run 2 $stage lora --set "model.base=$T/published" --set sft.adapter.kind=lora --set sft.adapter.rank=2 --set sft.tokens=4000 --set align.start=final
done
good "adapters beside it propose rules too"
[ "$(rows "$T/lora/arms/own/own/datasets.h5" pair family)" -gt 20 ]
ok $? "of which pairs are made"

# ---- the teacher's alone: nothing of this plays a part
run 2 align r2 --set arms.own.align.pairs=teacher
good "pairs of the teacher"
run 2 align r2 --set arms.own.align.pairs=teacher --set align.own.tasks=7 --set align.own.score=interpreter
[ $status = 0 ] && grep -q '^align .*own: already done' "$T/out"
ok $? "are not made anew for a setting of the student's own"

# ---- what makes no sense
refuse() { # pattern what extra…
    local pattern=$1 what=$2
    shift 2
    run 1 validate x "$@"
    [ $status = 3 ] && [ "$(grep -c '^redistill: error: ' "$T/err")" = 1 ] && grep -q "$pattern" "$T/err"
    ok $? "$what: $(sed -n 's/^redistill: error: //p' "$T/err")"
}
refuse "stages of 'redis-sft' hold no sft" "no SFT before" --set 'arms.redis-sft.stages=["eval"]' --set 'arms.own.stages=["align"]'
refuse 'sft.kinds.*no generate' "a student that proposes nothing" --set 'sft.kinds=["follow"]'
refuse 'align.own.share' "both, and nothing of the one" --set arms.both.align.own.share=0
run 1 validate x
good "validate"
says "making the pairs of the student's own rules comes first and is not in these times"
run 2 align r2 --set filter.gap.acre=30 --set filter.gap.list_function=30
[ $status = 3 ] && [ "$(grep -c '^redistill: error: .*filter.gap' "$T/err")" = 1 ]
ok $? "a gap that no two rules have: $(sed -n 's/^redistill: error: //p' "$T/err")"
finish
