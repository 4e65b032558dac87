#!/usr/bin/env bash
# Sweeps as a user runs them: planned, run two at once with what they share made once, stopped, killed,
# damaged, collected with exactly those missing, completed by the same line; five hundred members.
set -u
. tests/shell.sh
export SOURCE_DATE_EPOCH=0 # files of equal runs are equal
unset SLURM_ARRAY_TASK_ID
mounted=
trap 'kill $(jobs -p) 2>/dev/null; [ -z "$mounted" ] || umount "$mounted"; rm -rf "$T"' EXIT
# run RANKS ARGS…: leaves status, ms, out, err
run() {
    local ranks=$1 start
    shift
    start=$(date +%s%N)
    timeout -k 5 120 "$MPIRUN" -n "$ranks" "$R" "$@" >"$T/out" 2>"$T/err"
    status=$?
    ms=$((($(date +%s%N) - start) / 1000000))
}
said() { grep -qE -- "$1" "$T/out" "$T/err"; }
json() { perl -MJSON::PP -0777 -ne "\$j = decode_json(\$_); $1"; }
flip() { # file: a bit in its middle
    perl -e 'open F, "+<", $ARGV[0]; $at = int((-s $ARGV[0]) / 2); seek F, $at, 0; read F, $b, 1; seek F, $at, 0;
        print F chr(ord($b) ^ 4)' "$1"
}
spec() { # file dir axes-and-more
    cat >"$T/$1" <<END
{"sweep": {"name": "mini", "dir": "$T/$2"}, "base": "$PWD/tests/inputs/mini.json",
 "set": {"sft.tokens": 6000, "align.tokens": 2000, "eval.problems": 2},
 $3}
END
}
spec s.json sweep '"axes": [
  {"name": "filter", "values": [{"label": "strict", "set": {"filter.min_score": 1}},
                                {"label": "none", "set": {"filter.min_score": 0, "filter.follow_min_score": 0}}]},
  {"name": "lambda", "key": "align.lambda", "values": [0.1, 0.5]}], "seeds": [3]'
M=$T/sweep/members

# ---- plans
run 1 sweep plan "$T/s.json"
[ $status = 0 ] && said '^sweep    mini: 4 members in ' && said '^axis     filter +2  strict \| none$' &&
    said '^shared   1 traces.h5 and 2 datasets.h5' && said "^submit   sbatch --array=0-3 jobs/sweep.sbatch $T/s.json$"
ok $? "a plan: members, axes, what is shared, the line to submit"
[ $status = 0 ] || sed 's/^/# /' "$T/err"
said '^cost     training on 1 rank a member: [0-9.e-]+ hours in all, the longest .* at most [0-9.]+ MB a rank'
ok $? "and what it costs"
json 'exit !($j->{members}[2]{label} eq "filter=none lambda=0.1 seed=3" && $j->{members}[2]{set}{"align.lambda"} == 0.1
    && $j->{members}[3]{dir} eq "members/0003" && $j->{axes}[1] eq "lambda")' <"$T/sweep/sweep.json"
ok $? "sweep.json lists the members"
key() { json "print \$j->{members}[$1]{$2}" <"$T/sweep/sweep.json"; } # of member 2: key 2 shared
run 2 sweep plan "$T/s.json" --json --ranks 4
json 'exit !($j->{members} == 4 && $j->{training}{ranks} == 4 && $j->{traces} == 1 && !@{$j->{refused}})' <"$T/out"
ok $? "--json is JSON, at 2 ranks, for 4"
spec bad.json bad '"axes": [{"name": "heads", "key": "model.init.heads", "values": [4, 5, 8, 3]},
    {"name": "lr", "key": "sft.lr", "values": [1, 99]}]'
run 2 sweep plan "$T/bad.json"
[ $status = 3 ] && [ "$(grep -c '^refused' "$T/out")" = 6 ] && [ ! -e "$T/bad" ] &&
    said '^refused  2: heads=5 lr=1 seed=1: .*model.init.heads: 5 is not a multiple' &&
    said '^refused  1: heads=4 lr=99 seed=1: .*sft.lr: expected a number from 0 to 10' && said '6 of 8 members cannot run'
ok $? "members that cannot be are refused before anything is written, each with its reason"
spec small.json small '"axes": [{"name": "stages", "key": "stages", "values": [["augment", "sft"], ["filter", "sft"]], "labels": ["a", "b"]}]'
run 1 sweep plan "$T/small.json"
[ $status = 3 ] && said 'refused  0: .*needs filter' && said 'refused  1: .*needs augment'
ok $? "stages that would find nothing"
spec typo.json typo '"axes": [{"name": "l", "key": "align.lambdaa", "values": [1]}]'
run 1 sweep plan "$T/typo.json"
[ $status = 3 ] && said "typo.json:3: axis 'l': unknown key 'align.lambdaa' of the config; did you mean 'align.lambda'"
ok $? "a wrong key is named with its line"
sed 's/"name": "mini", /"name": "other", /' "$T/s.json" >"$T/other.json"
run 1 sweep plan "$T/other.json"
[ $status = 3 ] && said "is the folder of the sweep 'mini'"
ok $? "another sweep's folder is refused"

# ---- the command line
run 1 run --sweep "$T/s.json"
[ $status = 2 ] && said 'which member' && run 1 run --sweep "$T/s.json" --index 4 && [ $status = 2 ] && said 'no member 4; the last is 3'
ok $? "no index, one too many"
run 1 run --sweep "$T/s.json" --index 0 --set run.dir=x
[ $status = 2 ] && run 1 sweep plam "$T/s.json" && [ $status = 2 ] && said "did you mean 'plan'" &&
    run 1 validate tests/inputs/mini.json --index 1 && [ $status = 2 ]
ok $? "what does not belong together"
run 1 --help
said 'sweep plan SPEC' && said 'sweep collect'
ok $? "--help"
run 1 sweep status "$T/s.json"
[ $status = 0 ] && said '^missing      4  0-3$'
ok $? "nothing has begun"

# ---- two at once, of which one makes what both need
member() { timeout -k 5 120 "$MPIRUN" -n "$1" "$R" run --sweep "$T/s.json" "${@:3}" >"$T/out$2" 2>"$T/err$2"; }
SLURM_ARRAY_TASK_ID=0 member 1 0 &
SLURM_ARRAY_TASK_ID=1 member 1 1 &
wait -n; a=$?; wait -n; b=$?
[ $a = 0 ] && [ $b = 0 ]
ok $? "two members at once: status $a and $b"
[ "$(cat "$T/out0" "$T/out1" | grep -c '^augment *128 / 128 tasks')" = 1 ] && [ "$(find "$T/sweep" -type f -name traces.h5 | wc -l)" = 1 ]
ok $? "the traces were made once: $(grep -h '^shared' "$T/out0" "$T/out1" | sed "s|$T/||;s/process [0-9]* on .*)/process … on …)/" | tr '\n' ';')"
[ "$(readlink "$M/0000/traces.h5")" = "../../$(key 0 shared_traces)/traces.h5" ] && [ "$M/0000/traces.h5" -ef "$M/0001/traces.h5" ] &&
    [ "$M/0000/datasets.h5" -ef "$M/0001/datasets.h5" ] && [ -L "$M/0001/datasets.h5" ]
ok $? "both have relative links to it"
json 'exit !($j->{member}{axes}{lambda} eq "0.5" && $j->{member}{shared}{"traces.h5"} =~ m|^../../shared/|)' <"$M/0001/manifest.json"
ok $? "the manifest says so"
mkdir "$T/alone"
run 1 run tests/inputs/mini.json --set "run.dir=$T/alone" --set sft.tokens=6000 --set align.tokens=2000 --set eval.problems=2 \
    --set filter.min_score=1 --set align.lambda=0.5
h5diff -q "$T/alone/arms/redis/predictions.h5" "$M/0001/arms/redis/predictions.h5" /answer /answer >/dev/null
ok $? "a member has the results of a run of its own"

# ---- without a plan, six at once that share all: one plan, one traces.h5, nobody is in the way
spec six.json six '"axes": [{"name": "lambda", "key": "align.lambda", "values": [0, 0.1, 0.2, 0.3, 0.4, 0.5]}]'
pids=() bad=0
for i in {0..5}; do
    timeout -k 5 120 "$MPIRUN" -n 1 "$R" run --sweep "$T/six.json" --index $i >"$T/six$i" 2>&1 &
    pids+=($!)
done
for p in "${pids[@]}"; do wait "$p" || bad=1; done
[ $bad = 0 ] && [ "$(find "$T/six" -type f -name traces.h5 | wc -l)" = 1 ] && [ "$(find "$T/six" -type f -name datasets.h5 | wc -l)" = 1 ]
ok $? "six members at once, without a plan: $(cat "$T"/six? | grep -c 'waits for') waits; $(grep -h '^redistill: ' "$T"/six? | head -n 1)"
run 1 sweep collect "$T/six"
[ $status = 0 ] && said '^collect  6 of 6 members' && ! said missing
ok $? "by their folder"

# ---- waiting: stopped, and taking over from a job that died
lockfile=$T/sweep/$(key 2 shared)/LOCK
mkdir -p "${lockfile%/*}"
hold() { # holds the lock as a job would, until it is killed
    perl -MFcntl -e 'open F, "+>", $ARGV[0]; $l = pack("s s x4 q q l x4", F_WRLCK, 0, 0, 0, 0);
        fcntl(F, F_SETLK, $l) or die;
        $| = 1; syswrite F, "1 ranks, the first is process 1 on nowhere\n"; print "held\n"; sleep 100' "$lockfile" >"$T/held" &
    holder=$!
    for _ in {1..200}; do grep -q held "$T/held" && return; sleep 0.05; done
}
until_said() { for _ in {1..600}; do grep -q "$2" "$1" 2>/dev/null && return; sleep 0.1; done; }
hold
member 2 2 --index 2 &
waiter=$!
until_said "$T/out2" 'waits for'
grep -q '^shared .*datasets.h5: waits for the job that makes it (1 ranks, the first is process 1 on nowhere)$' "$T/out2" &&
    [ "$(grep -c 'waits for' "$T/out2")" = 1 ]
ok $? "a member that waits says once on whom"
run 1 sweep status "$T/s.json"
said '^done +2  0-1$' && said '^running +1  2$' && said '2 \(filter=none lambda=0.1 seed=3\): 1 of [0-9]+ files are there; 2 ranks, the first is' &&
    said '^submit   sbatch --array=3 '
ok $? "status: done, running and how far, missing"
mkdir "$M/0002/member.json.tmp" # as on a full disk: no new file can be made
kill -USR1 $(pgrep -P "$(pgrep -P $waiter)") # below the subshell and timeout: mpirun
wait $waiter
a=$?
run 1 sweep status "$T/s.json"
[ $a = 75 ] && said '^stopped +1  2$'
ok $? "it heeds a request to stop while it waits, and finds room to say so: status $a"
rmdir "$M/0002/member.json.tmp"
member 2 2 --index 2 &
waiter=$!
until_said "$T/out2" 'waits for'
{ kill -9 $holder && wait $holder; } 2>/dev/null
wait $waiter
ok $? "and takes over when the other is dead"

# ---- killed, in a stage that is shared; one rank fails
rm -r "$T/sweep/$(key 3 shared)"
member 2 3 --index 3 --fault filter:1
a=$?
run 1 sweep status "$T/sweep"
[ $a = 7 ] && said '^failed +1  3$' && said '3 .*; .*injected'
ok $? "one rank fails in a shared stage: status $a, the reason is kept: $(grep -h '^redistill' "$T/err3")"
member 2 3 --index 3 --fault sft:1:kill 2>/dev/null
a=$?
run 1 sweep status "$T/s.json" --json
[ $a != 0 ] && json 'exit !($j->{members}[3]{state} eq "failed" && $j->{members}[3]{reason} =~ /killed/)' <"$T/out"
ok $? "a killed member is told from one that runs: status $a"

# ---- collected with exactly those missing
flip "$M/0001/arms/redis/predictions.h5"
run 1 sweep collect "$T/s.json"
[ $status = 0 ] && said '^collect  2 of 4 members' && said '^missing: 1, 3$' && said '^  1 .*: failed: .*predictions.h5: damaged file' &&
    said '^  3 .*: failed: killed' && said "^submit   sbatch --array=1,3 jobs/sweep.sbatch $T/s.json$"
ok $? "collect tolerates them and says which and why"
line=$(sed -n 's/^submit   sbatch --array=\([0-9,]*\).*/\1/p' "$T/out")
cp "$M/0000/report.json" "$T/report.json"
head -c 300 "$T/report.json" >"$M/0000/report.json"
run 1 sweep collect "$T/sweep" --json
[ $status = 0 ] && json 'exit !("@{$j->{missing}}" eq "0 1 3" && $j->{results} > 10)' <"$T/out"
ok $? "a half-written report"
cp "$T/report.json" "$M/0000/report.json"
before=$(md5sum <"$M/0000/report.json")
for i in 0 ${line//,/ }; do
    SLURM_ARRAY_TASK_ID=$i member 2 $i || echo "# member $i: $(tail -n 1 "$T/err$i")"
done
grep -q 'is done already' "$T/out0" && [ "$before" = "$(md5sum <"$M/0000/report.json")" ]
ok $? "the same line again leaves alone what is done"
grep -q 'predictions.h5: damaged file.*put aside' "$T/err1"
ok $? "and puts aside what is damaged"
run 1 sweep collect "$T/s.json"
[ $status = 0 ] && said '^collect  4 of 4 members' && ! said 'missing|submit'
ok $? "then the sweep is complete"
cp "$T/sweep/sweep.h5" "$T/first.h5"
run 1 sweep collect "$T/s.json"
cmp -s "$T/first.h5" "$T/sweep/sweep.h5"
ok $? "collected again: the same bytes"
flip "$T/sweep/$(key 0 shared_traces)/traces.h5"
run 1 sweep collect "$T/s.json"
said '^missing: 0-3$' && member 2 0 --index 0 && grep -q 'traces.h5: damaged file.*made again' "$T/err0" && run 1 sweep collect "$T/s.json" && ! said missing
ok $? "a damaged shared file is made again by the first that needs it"

# ---- the file
run 1 inspect "$T/sweep/sweep.h5" --json
[ $status = 0 ] && json '%t = map { $_->{name} => $_ } @{$j->{tables}}; exit !($j->{attributes}{schema} eq "redistill.sweep" && $j->{checksum}
    && $t{member}{rows} == 4 && $t{result}{rows} > 40 && $t{result}{columns}[2]{name} ne ""
    && grep({ $_->{name} eq "axis_lambda" } @{$t{result}{columns}}) && grep({ $_->{file} eq "members/0003/arms/redis/predictions.h5" } @{$j->{links}}))' <"$T/out"
ok $? "inspect shows its tables and links"
run 1 inspect "$T/sweep/sweep.h5"
[ $status = 0 ] && said 'links to other files' && said '… and [0-9]+ more'
ok $? "as text too"
run 1 inspect --check "$T/sweep/sweep.h5"
ok $status "it is as its schema says: $(tail -n 1 "$T/out" | sed "s|$T/||")"
mv "$T/sweep" "$T/moved"
h5dump -H -d /members/0002/arms/redis/predictions/answer/tolerant "$T/moved/sweep.h5" 2>/dev/null | grep -q DATASPACE &&
    h5dump -H -d /members/0002/traces/task/family "$T/moved/sweep.h5" 2>/dev/null | grep -q DATASPACE
ok $? "links hold after the folder has moved"
run 1 sweep status "$T/moved/sweep.json"
said '^done +4  0-3$' && ! said submit
ok $? "and so does the plan"
mv "$T/moved" "$T/sweep"

# ---- a full disk: how the member ended is written down all the same
if mkdir "$T/full" && mount -t tmpfs -o size=1100k tmpfs "$T/full" 2>/dev/null; then
    mounted=$T/full
    spec full.json full '"axes": []'
    timeout 100 "$MPIRUN" -n 2 "$R" run --sweep "$T/full.json" --index 0 >"$T/out" 2>"$T/err"
    a=$?
    dd if=/dev/zero of="$T/full/ballast" bs=4k 2>/dev/null
    run 1 sweep status "$T/full.json"
    [ $a = 4 ] && said '^failed +1  0$' && said 'No space left'
    ok $? "no room for a member: status $a, $(grep 'No space' "$T/out" | sed "s|$T/||g")"
else
    ok 0 "a full disk # SKIP no right to mount a small file system"
fi

# ---- five hundred
lambdas=$(seq -s, 0.01 0.01 0.5)
spec big.json big "\"axes\": [{\"name\": \"lambda\", \"key\": \"align.lambda\", \"values\": [$lambdas]}], \"seeds\": [1,2,3,4,5,6,7,8,9,10]"
run 1 sweep plan "$T/big.json"
[ $status = 0 ] && said 'mini: 500 members' && said '10 traces.h5 and 10 datasets.h5' && said 'array=0-499 '
ok $? "500 members planned in $ms ms"
cp -r "$T/sweep/shared" "$T/big/shared"
mkdir "$T/big/members"
perl -MJSON::PP -e 'my ($from, $big) = @ARGV;
    sub slurp { local $/; open my $f, "<", $_[0] or die; <$f> }
    my $plan = decode_json(slurp("$big/sweep.json"));
    my $text = slurp("$from/member.json");
    for my $m (@{$plan->{members}}) {
        my $dir = "$big/$m->{dir}";
        next if $m->{index} % 100 == 7;
        system("cp", "-rl", $from, $dir) == 0 or die;
        my $own = decode_json($text);
        $own->{key} = $m->{key};
        unlink "$dir/member.json";
        open my $f, ">", "$dir/member.json" or die; print $f encode_json($own); close $f;
    }' "$M/0000" "$T/big"
run 1 sweep collect "$T/big.json"
[ $status = 0 ] && said '^collect  495 of 500 members' && said '^missing: 7, 107, 207, 307, 407$' && said 'array=7,107,207,307,407 '
ok $? "500 members collected in $ms ms: $(head -n 1 "$T/out" | sed "s|$T/||")"
run 1 sweep status "$T/big.json"
said '^done +495 '
ok $? "and looked at in $ms ms"

# ---- the ablations of the paper
mkdir -p "$T/tree/runs/quickstart/arms/imitation/checkpoints"
cp -r inputs "$T/tree/"
cp "$M/0000/tokenizer.json" "$T/tree/runs/quickstart/"
cp "$M/0000/arms/imitation/checkpoints/sft-final.h5" "$T/tree/runs/quickstart/arms/imitation/checkpoints/"
for m in 0002 0003 0008 0009 0014 0015 0020 0021; do
    mkdir -p "$T/tree/sweeps/student_rate/members/$m/arms/sft/checkpoints"
    cp "$M/0000/tokenizer.json" "$T/tree/sweeps/student_rate/members/$m/"
    cp "$M/0000/arms/imitation/checkpoints/sft-final.h5" "$T/tree/sweeps/student_rate/members/$m/arms/sft/checkpoints/"
done
cd "$T/tree" || exit
for f in inputs/sweeps/*.json; do
    case $f in *base.json) continue ;; esac
    run 1 sweep plan "$f"
    ok $status "$f: $(sed -n 's/^sweep *//p;s/^cost *//p' "$T/out" | sed 's/, base.*//;s/;.*//' | paste -sd ' ') ($ms ms)"
    [ $status = 0 ] || sed 's/^/# /' "$T/err"
done
finish
