#!/usr/bin/env bash
# Install the Debian packages that are missing: only as root and only where apt-get exists.  On a
# cluster nothing is installed; what is missing is named and the build says the rest.  DEV=1 adds the
# tools of `make lint` and `make check-valgrind`; ANALYSIS=1 (make check) what analysis/ needs, without
# which its tests are skipped; SLURM=1 installs the Slurm of `make check-slurm` and nothing else.
set -eu
if [ -n "${SLURM:-}" ]; then
    PATH=$PATH:/usr/sbin
    command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v srun >/dev/null &&
        command -v munged >/dev/null && exit 0
    { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; } || exit 0 # the tests say what they lack
    echo "installing: slurm-wlm munge"
    apt-get update -qq || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null ||
        echo "redistill: Slurm could not be installed; its tests are skipped"
    exit 0
fi
packages="build-essential pkg-config openmpi-bin libopenmpi-dev libhdf5-openmpi-dev
    libscalapack-openmpi-dev libopenblas-dev libcjson-dev libpcre2-dev libutf8proc-dev
    libcurl4-openssl-dev hdf5-tools perl python3"
tools="clang-format clang-tidy valgrind"
[ -n "${DEV:-}" ] && packages="$packages $tools"
have() {
    command -v mpicc >/dev/null && command -v pkg-config >/dev/null && command -v prove >/dev/null &&
        command -v h5diff >/dev/null && command -v python3 >/dev/null || return 1
    for p in libcjson libpcre2-8 libutf8proc libcurl openblas; do pkg-config --exists $p || return 1; done
    pkg-config --exists hdf5-openmpi || pkg-config --exists hdf5-mpich || pkg-config --exists hdf5 || return 1
    pkg-config --exists scalapack-openmpi || pkg-config --exists scalapack-mpich ||
        pkg-config --exists scalapack || return 1
    for p in ${DEV:+$tools}; do command -v $p >/dev/null || return 1; done
}
# The program itself needs no Python.
analysis() {
    [ -n "${ANALYSIS:-}" ] || return 0
    . tests/python.sh
    python_with h5py numpy matplotlib && return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            python3-h5py python3-numpy python3-matplotlib >/dev/null || true
    fi
    python_with h5py numpy matplotlib ||
        echo "redistill: no Python with h5py, numpy and matplotlib: the tests of analysis/ will be skipped"
}
# A config.mk names what pkg-config does not know: then the build itself is the judge.
[ -e config.mk ] && [ -z "${DEV:-}" ] && exit 0
have && analysis && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing: $packages" | tr -s ' \n' ' '; echo
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
    have && analysis && exit 0
fi
echo "redistill: warning: some libraries${DEV:+ or tools ($tools)} were not found; see 'make info', name them in config.mk" >&2
