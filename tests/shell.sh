# What a shell test begins with (sourced from the top folder): the program R, mpirun, a scratch folder T,
# ok and good; the script ends with finish.
BUILD=${BUILD:-build}
case $BUILD in /*) R=$BUILD/redistill ;; *) R=$PWD/$BUILD/redistill ;; esac
MPIRUN=${MPIRUN:-mpirun}
T=$(mktemp -d)
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1
trap 'rm -rf "$T"' EXIT
n=0
failed=0
ok() { # status text: 0 is good
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; failed=1; fi
}
run() { # ranks args…: leaves status, out, err
    local ranks=$1
    shift
    timeout -k 5 120 "$MPIRUN" -n "$ranks" "$R" "$@" >"$T/out" 2>"$T/err"
    status=$?
}
good() { # what: of the last run
    ok $status "$1"
    [ $status = 0 ] || sed 's/^/# /' "$T/err" | head -5
}
finish() {
    echo "1..$n"
    exit $failed
}
