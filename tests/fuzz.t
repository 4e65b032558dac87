#!/usr/bin/env bash
# Each fuzz program over its first mutations, always the same ones: a broken promise ends it.
# FUZZ_TIMES=100 runs a hundred times as many.
set -u
BUILD=${BUILD:-build}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
n=0
failed=0
fuzz() { # program inputs
    local count=$(($2 * ${FUZZ_TIMES:-1})) status
    timeout -k 5 $((60 * ${FUZZ_TIMES:-1})) "$BUILD/fuzz/$1" -n $count >"$out" 2>&1
    status=$?
    n=$((n + 1))
    if [ $status = 0 ] && grep -qx "$count inputs" "$out"; then
        echo "ok $n - $1: $count inputs"
    else
        echo "not ok $n - $1: status $status"
        tail -n 20 "$out" | sed 's/^/# /'
        failed=1
    fi
}
fuzz fuzz_json 20000
fuzz fuzz_rule 20000
fuzz fuzz_task_line 5000
fuzz fuzz_tokenizer 300
fuzz fuzz_tokenizer_files 3000
fuzz fuzz_safetensors 20000
fuzz fuzz_gguf 20000
fuzz fuzz_chat 20000
fuzz fuzz_sweep 20000
echo "1..$n"
exit $failed
