#!/usr/bin/env bash
# make check-oracle: run tests/oracle/*.py, each with the build directory as its argument, in a
# Python environment with the libraries of tests/oracle/requirements.txt in exactly those versions.
# The environment ($ORACLE_VENV) is made if it is not there.  Where that cannot be, everything is
# skipped, with the reason.
set -u
BUILD=${BUILD:-build}
venv=${ORACLE_VENV:-$BUILD/oracle}
own=${ORACLE_VENV:+no}
wanted=tests/oracle/requirements.txt
alone=tests/oracle/requirements-alone.txt

skip() {
    echo "check-oracle: SKIPPED: $1"
    exit 0
}

# What differs from the wanted versions, one a line.  A suffix like +cpu is the same version.
misfits() {
    "$venv/bin/python" - "$wanted" "$alone" <<'PY'
import importlib.metadata as metadata, sys
for path in sys.argv[1:]:
    for line in open(path):
        name, equals, version = line.split("#")[0].strip().partition("==")
        if not equals:
            continue
        try:
            found = metadata.version(name).split("+")[0]
        except metadata.PackageNotFoundError:
            found = "nothing"
        if found != version:
            print(f"{name} {version} is wanted, {found} is there")
PY
}

make_environment() {
    local log=$BUILD/oracle.log pip=("$venv/bin/python" -m pip install --quiet --retries 2)
    mkdir -p "$BUILD"
    echo "check-oracle: making $venv (some minutes, about 2 GB)"
    "${PYTHON:-python3}" -m venv "$venv" >"$log" 2>&1 ||
        skip "${PYTHON:-python3} -m venv fails: $(tail -n 1 "$log")"
    # Torch first and alone, so that nothing else chooses it.
    "${pip[@]}" "$(grep '^torch==' "$wanted")" >"$log" 2>&1 &&
        "${pip[@]}" -r "$wanted" >>"$log" 2>&1 &&
        "${pip[@]}" --no-deps -r "$alone" >>"$log" 2>&1 ||
        skip "no environment, and none can be made: $(grep -v '^$' "$log" | tail -n 1)"
    echo "check-oracle: made in $SECONDS s"
}

if [ ! -x "$venv/bin/python" ] || { [ -n "$(misfits)" ] && [ "$own" != no ]; }; then
    make_environment
fi
wrong=$(misfits)
if [ -n "$wrong" ]; then
    printf 'check-oracle: %s does not fit:\n%s\n' "$venv" "$wrong" >&2
    exit 1
fi
t=$BUILD/t-oracle
rm -rf "$t" && mkdir -p "$t"
for script in ${ORACLE:-tests/oracle/*.py}; do
    cat > "$t/$(basename "$script" .py).t" <<EOS
#!/usr/bin/env bash
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH=tests/oracle/lib:tests/golden
exec timeout -k 10 ${TEST_TIMEOUT:-600} "$venv/bin/python" "$script" "$BUILD"
EOS
done
exec prove --timer --exec bash "$t"/*.t
