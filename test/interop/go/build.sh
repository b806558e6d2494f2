#!/usr/bin/env bash
# Builds the programs of the interop tests: build.sh [DIRECTORY]
# Exits with 3 when there is no Go.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/bin}
source "$here/env.sh"

mkdir -p "$out"
out=$(cd "$out" && pwd)

for module in storj muxstandin; do
  cd "$here/$module"
  for command in cmd/*/; do
    name=$(basename "$command")
    go build -o "$out/$module-$name" "./$command"
  done
done
