#!/usr/bin/env bash
# The configs and sweeps of inputs/ are what the program takes today: every one is validated or planned.
# Those of the official task files need RD_DATA; those of a model or a sweep that is not there must say so, and no more.
set -u
. tests/shell.sh
is_base() { grep -q "\"base\": *\"${1##*/}\"" inputs/sweeps/*.json; }
for f in inputs/*.json; do
    more=()
    case $f in # models that no one rank holds
    */plan-8b.json) more=(--set grid.rows=16 --set grid.cols=2) ;;
    */plan-70b.json) more=(--set grid.rows=128 --set grid.cols=8) ;;
    esac
    if grep -q '"file":' "$f"; then
        [ -d "${RD_DATA:-}" ] || { echo "# $f: not without RD_DATA"; continue; }
        more+=(--set "data.dir=$RD_DATA")
    fi
    run 1 validate "$f" --ranks 4096 "${more[@]}"
    if [ $status != 0 ] && grep -q '"base":' "$f"; then
        grep -q '^redistill: error: inputs/../models/.*: No such file' "$T/err"
        ok $? "$f: $(grep -m 1 '^redistill: error' "$T/err")"
    else
        good "$f"
    fi
done
top=$PWD
for f in inputs/sweeps/*.json; do
    is_base "$f" && continue
    cd "$T" && run 1 sweep plan "$top/$f"
    cd "$top" || exit 1
    if [ $status != 0 ] && grep -q '"base":.*adapter-base\|"model.base"' "$f"; then
        grep -q '\(runs/quickstart\|sweeps/student_rate\)/.*: No such file' "$T/out" "$T/err"
        ok $? "$f: $(grep -hm 1 'No such file' "$T/out" "$T/err" | sed 's/^ *//')"
    else
        good "$f: $(sed -n 's/^sweep  *[^:]*: \([0-9]* members\).*/\1/p' "$T/out")"
    fi
done
finish
