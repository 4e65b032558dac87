#!/usr/bin/env bash
# clang-tidy over src with the project's checks (.clang-tidy): one process per file, as many as there
# are cores, the longest files first.  Any finding fails.  Files may be named: tidy.sh src/io/json.c
set -eu -o pipefail
tidy=${CLANG_TIDY:-clang-tidy}
command -v "$tidy" >/dev/null || {
    echo "lint: $tidy is not installed ('make deps DEV=1'), or leave it out with NO_TIDY=1" >&2
    exit 1
}
# shellcheck disable=SC2207
includes=($(pkg-config --cflags ${PKGS:-hdf5-openmpi openblas libcjson libpcre2-8} 2>/dev/null)
    $(mpicc --showme:compile 2>/dev/null || mpicc -compile_info 2>/dev/null | grep -oE -- '-I[^ ]+'))
# clang comes without its OpenMP library and cannot read GCC's header: what we use of it.
openmp=$(mktemp -d)
trap 'rm -rf "$openmp"' EXIT
printf 'int %s(void);\n' omp_get_max_threads omp_get_thread_num omp_in_parallel >"$openmp/omp.h"
echo 'void omp_set_num_threads(int);' >>"$openmp/omp.h"
# clang has no __builtin_shuffle; for the analysis any function of its operands will do.
flags=(-std=c17 -Iinclude -Isrc -D_GNU_SOURCE '-DRD_VERSION="0"' '-DRD_GIT="0"'
    '-D__builtin_shuffle(a,b,mask)=((void)(mask),(a)+(b))' -fopenmp "-I$openmp" "${includes[@]}")
# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(ls -S src/*/*.c)
{ printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} "$tidy" --quiet --warnings-as-errors='*' {} -- "${flags[@]}"; } 2>&1 |
    { grep -vE '^[0-9]+ (warning|error)s? (generated|treated)' || true; } && exit 0
echo "lint: clang-tidy found something" >&2
exit 1
