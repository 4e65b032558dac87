#!/usr/bin/env bash
# The README's table of plans for large models, as Markdown, from inputs/plan-*.json: for each number
# of nodes the fastest grid that fits.  It is all arithmetic: no rank of these grids exists.
set -u
BUILD=${BUILD:-build}
MPIRUN=${MPIRUN:-mpirun}
PER_NODE=128 # ranks, as inputs/machines/example-node.json says
row() { # name config nodes extra…
    local name=$1 config=$2 nodes=$3
    shift 3
    # A grid of one-rank replicas never has room for these: status 3, and the plan all the same.
    "$MPIRUN" -n 1 "$BUILD/redistill" validate "$config" --json --ranks $((nodes * PER_NODE)) "$@" 2>/dev/null |
        NAME=$name NODES=$nodes perl -MJSON::PP -0777 -ne '
            my $t = decode_json($_)->{training}[0];
            my $x = $t->{fastest}[0];
            sub thousands { my $n = sprintf("%.0f", $_[0]); 1 while $n =~ s/^(\d+)(\d{3})/$1,$2/; $n }
            my $what = $x->{fits}
                ? sprintf("%d x %d x %d | %.2f | %s | %s", $x->{data}, $x->{rows}, $x->{cols},
                    $x->{bytes_per_rank} / 1e9, thousands($x->{tokens_per_second}),
                    $x->{hours} < 10 ? sprintf("%.1f", $x->{hours}) : thousands($x->{hours}))
                : "does not fit | | |";
            printf "| %s | %s | %s |\n", $ENV{NAME}, thousands($ENV{NODES}), $what;'
}
lora="--set sft.adapter.kind=lora --set sft.adapter.rank=16 --set sft.adapter.alpha=32"
echo '| model | nodes | data x rows x cols | GB per rank | tokens/s | hours for 100 M tokens |'
echo '|---|---|---|---|---|---|'
for size in 8b 70b; do
    for nodes in 16 64 256 1024; do
        row "${size/b/ B}, all weights" inputs/plan-$size.json $nodes
        # shellcheck disable=SC2086
        row "${size/b/ B}, LoRA 16" inputs/plan-$size.json $nodes $lora
    done
done
