#!/usr/bin/env bash
# Run tests under prove: `prove.sh test_a test_b …`.  The first line of tests/test_x.c, for example
# `/* ranks: 1 2 4 */`, says at which rank counts test_x runs; each run is one TAP source.
set -eu
t=$BUILD/t
rm -rf "$t" && mkdir -p "$t"
for name in "$@"; do
    ranks=$(sed -n '1s/.*ranks:\([0-9 ]*\).*/\1/p' "tests/$name.c")
    [ -n "$ranks" ] || { echo "tests/$name.c: first line must be /* ranks: … */" >&2; exit 1; }
    for n in $ranks; do
        cat > "$t/$name.$n.t" <<EOS
#!/usr/bin/env bash
exec timeout -k 10 ${TEST_TIMEOUT:-180} ${MPIRUN:-mpirun} -n $n $BUILD/tests/$name
EOS
    done
done
for s in tests/*.t; do [ -e "$s" ] && [ "${ONLY_UNIT:-}" = "" ] && [ $# -gt 20 ] && cp "$s" "$t/"; done
chmod +x "$t"/*.t
exec prove --timer --exec bash "$t"/*.t
