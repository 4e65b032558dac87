#!/usr/bin/env bash
# The small tests of one rank under valgrind: reads of what was never written and accesses out of
# bounds.  Leaks are not looked for: MPI and HDF5 keep memory to the end, and each test checks our own
# balance.  valgrind.sh test_a test_b runs these.
set -u
command -v valgrind >/dev/null || {
    echo "check-valgrind: valgrind is not installed ('make deps DEV=1')" >&2
    exit 1
}
BUILD=${BUILD:-build/valgrind}
small="base error json pool journal store series dtype safetensors gguf answer prompt task_load split
    arc1d_text arc1d_run acre scan listfn_text listfn_run generate baseline leakage tokenizer interval config packing objective
    ops attention decode transformer optim matrix"
[ $# -gt 0 ] || set -- $(printf 'test_%s ' $small)
logs=$BUILD/valgrind-logs
rm -rf "$logs" && mkdir -p "$logs"
suppress= # what Open MPI says of itself
for s in "${OPAL_PREFIX:-/usr}/share/openmpi/openmpi-valgrind.supp" /usr/share/openmpi/openmpi-valgrind.supp; do
    [ -e "$s" ] && suppress=--suppressions=$s && break
done
export BUILD logs MPIRUN=${MPIRUN:-mpirun} suppress
one() {
    local start=$SECONDS status
    # shellcheck disable=SC2086
    timeout -k 10 600 $MPIRUN -n 1 valgrind -q --error-exitcode=9 --leak-check=no $suppress \
        "$BUILD/tests/$1" >"$logs/$1" 2>&1
    status=$?
    if [ $status = 0 ]; then
        echo "ok - $1 ($((SECONDS - start)) s)"
    else
        echo "not ok - $1: status $status"
        grep -vE '^ok ' "$logs/$1" | head -n 60 | sed 's/^/# /'
    fi
    return $((status != 0))
}
export -f one
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c 'one {}' && echo "valgrind: nothing found" && exit 0
echo "valgrind: see $logs"
exit 1
