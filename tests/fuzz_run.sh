#!/usr/bin/env bash
# make fuzz-run: `fuzz_run.sh fuzz_a fuzz_b …`, one after the other: over the files of tests/corpus of
# its kind, then mutations for FUZZ_SECONDS.  The first failure ends it, with what it said.
set -u
export ASAN_OPTIONS=detect_leaks=0
log=$BUILD/fuzz.log
for program in "$@"; do
    case $program in
    fuzz_gguf) files=(tests/corpus/*.gguf) ;;
    fuzz_safetensors) files=(tests/corpus/*.safetensors) ;;
    fuzz_task_line) files=(tests/corpus/*.jsonl) ;;
    fuzz_json) files=(tests/corpus/*.json) ;;
    fuzz_tokenizer) files=(tests/golden/tokenizers/*.json) ;;
    *) files=() ;;
    esac
    [ ${#files[@]} = 0 ] || "$BUILD/fuzz/$program" "${files[@]}" >"$log" 2>&1 || {
        tail -n 30 "$log"; echo "$program: FAILED over its corpus"; exit 1; }
    "$BUILD/fuzz/$program" -s "$FUZZ_FIRST" -t "$FUZZ_SECONDS" >"$log" 2>&1 || {
        tail -n 30 "$log"
        echo "$program: FAILED within 4096 mutations after$(grep '^# at' "$log" | tail -n 1 | sed 's/# at//')"
        exit 1; }
    echo "$program: ${#files[@]} files, $(tail -n 1 "$log") from mutation $FUZZ_FIRST on"
done
