#!/usr/bin/env bash
# Examines and tests the Go modules: test.sh [FLAG of go test...]
# The one of github.com/cockroachdb/drpc only if DRPC_COCKROACH names a checkout or a version of it.
# Exits with 3 when there is no Go.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
source "$here/env.sh"
source "$here/cockroach.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

for module in storj muxstandin cockroach; do
  cd "$here/$module"
  if [[ $module == cockroach ]]; then provide_cockroach "$scratch" || continue; fi
  go vet ./...
  go test "$@" ./...
done
