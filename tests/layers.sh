#!/usr/bin/env bash
# The layer rules: which public headers a layer may include, and which layer may call which library.
set -u
bad=0
may() { # layer: headers it may include
    case $1 in
    base) echo "base" ;;
    par) echo "base par" ;;
    la | io) echo "base par $1" ;;
    nn) echo "base par la io nn" ;;
    text | task) echo "base par io $1" ;;
    infer) echo "base par io nn text task infer" ;;
    teacher) echo "base par io task text infer teacher" ;;
    distill) echo "base par io task text teacher distill" ;;
    train) echo "base par la io nn text train" ;;
    cli) echo "base par la io nn text task infer teacher distill train cli" ;;
    esac
}
for f in src/*/*.c src/*/*.h; do
    layer=${f#src/} && layer=${layer%%/*}
    allowed=" $(may "$layer") "
    for h in $(sed -nE 's|^ *# *include "rd/([a-z]+)\.h".*|\1|p' "$f"); do
        [[ $allowed == *" $h "* ]] || { echo "$f: layer $layer must not include rd/$h.h"; bad=1; }
    done
done
door() { # pattern, layers that may match, what
    local hits
    hits=$(grep -nE "$1" src/*/*.c src/*/*.h | grep -vE "^src/($2)/" || true)
    [ -z "$hits" ] || { echo "$3 outside $2:"; echo "$hits"; bad=1; }
}
door '\bMPI_[A-Z][a-z_]+\(' 'par|io' 'MPI calls'
door '\b(cblas_|Cblacs_|blacs_[a-z]+_\(|p[sd][a-z]+_\(|openblas_)' 'la' 'BLAS, BLACS, PBLAS or ScaLAPACK'
door '\b(H5[A-Z][a-z_]+\(|cJSON_)' 'io' 'HDF5 or cJSON'
door '\bpcre2_' 'text' 'PCRE2'
door '\butf8proc_' 'text' 'utf8proc'
door '\bcurl_' 'teacher' 'libcurl'
door '(^|[^_a-z])(malloc|calloc|realloc|abort|exit|assert)\(' 'base|par' 'bare malloc, exit, abort or assert'
exit $bad
