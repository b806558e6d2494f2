#!/usr/bin/env bash
# Builds the programs of the interop tests: build.sh [DIRECTORY]
# Those of github.com/cockroachdb/drpc only if DRPC_COCKROACH names a checkout or a version of it.
# Exits with 3 when there is no Go.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/bin}
source "$here/env.sh"
source "$here/cockroach.sh"

mkdir -p "$out"
out=$(cd "$out" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

for module in storj muxstandin cockroach; do
  cd "$here/$module"
  if [[ $module == cockroach ]]; then provide_cockroach "$scratch" || continue; fi
  for command in cmd/*/; do
    name=$(basename "$command")
    go build -o "$out/$module-$name" "./$command"
  done
done
