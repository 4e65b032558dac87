#!/usr/bin/env bash
# make bench: the programs tests/bench_*.c, then redistill beside what a user would otherwise run.
# The latter wants a Python with torch, transformers, peft and trl (BENCH_PYTHON; the environment of
# make check-oracle if it is there), for search also SmolLM2 (SMOLLM2, fetched by make smollm2), the
# official task files (RD_DATA) and, for llama.cpp, llama-cpp-python (LLAMA_PYTHON).
set -eu
BUILD=${BUILD:-build}
MPIRUN=${MPIRUN:-mpirun}
for source in tests/bench_*.c; do
    name=$(basename "$source" .c)
    [ -z "${BENCH:-}" ] || [[ " $BENCH " = *" $name "* ]] || continue
    echo "== $name"
    ranks=$(sed -n '1s/.*bench ranks: *\([0-9]*\).*/\1/p' "$source")
    "$MPIRUN" -n "${ranks:-1}" "$BUILD/tests/$name"
done
[ -z "${BENCH:-}" ] || exit 0
python=${BENCH_PYTHON:-$BUILD/oracle/bin/python}
[ -x "$(command -v "$python")" ] || python=python3
if ! "$python" -c 'import torch, transformers, peft, trl' 2>/dev/null; then
    echo "== peers: skipped: no Python with torch, transformers, peft and trl (BENCH_PYTHON)"
    exit 0
fi
echo "== training beside PyTorch"
"$python" tests/bench/peers.py "$BUILD"
model=${SMOLLM2:-models/SmolLM2-135M-Instruct.Q4_1.gguf}
if [ ! -e "$model" ] || [ ! -e "$RD_DATA/list_function.jsonl" ]; then
    echo "== search: skipped: $model or $RD_DATA/list_function.jsonl is not there"
    exit 0
fi
echo "== hypothesis search beside transformers.generate and llama.cpp"
"$python" tests/bench/peers_search.py "$BUILD" "$model" "$RD_DATA"
