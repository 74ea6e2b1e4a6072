#!/bin/sh
# Compares the contract with that of the commit named in proto/BASELINE (buf breaking).
# Usage: breaking.sh BIN SITE: the virtual environment's bin, and where google/api/*.proto are.
set -eu
bin=$1 site=$2
if [ ! -f proto/BASELINE ]; then
    echo "proto/BASELINE is not there yet: the main job is still open, so nothing is released that could break."
    exit 0
fi
base=$(cat proto/BASELINE)
if ! git cat-file -e "$base^{commit}" 2>/dev/null; then
    [ "$(git rev-parse --is-shallow-repository)" = true ] || { echo "commit $base of proto/BASELINE is unknown"; exit 1; }
    echo "this clone is shallow and lacks $base: the contract was not compared"
    exit 0
fi
rm -rf build/base && mkdir -p build/base
git archive "$base" proto | tar -x -C build/base
"$bin/python" -m grpc_tools.protoc -Ibuild/base/proto -I"$site" --include_imports \
    -o build/base.binpb build/base/proto/orca/v1/*.proto
"$bin/buf" breaking build/orca.binpb --against build/base.binpb
