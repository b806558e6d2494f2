#!/usr/bin/env bash
# Makes the fixtures again that the Go packages write.
#   generate.sh           test/fixtures/go-*.json
#   generate.sh --check   compares instead of writing; exits with 1 on a difference
#   generate.sh --code    first generates the code of test/interop/proto (needs protoc)
# The fixture of github.com/cockroachdb/drpc only if DRPC_COCKROACH names a checkout or a version of it.
# Exits with 3 when there is no Go.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
fixtures=$here/../../fixtures
mode=${1:-}
source "$here/env.sh"
source "$here/cockroach.sh"

case $mode in
'' | --check | --code) ;;
*)
  sed -n '2,7s/^# //p' "$0" >&2
  exit 2
  ;;
esac

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

if [[ $mode == --code ]]; then
  cd "$here/storj"
  go build -o "$scratch/plugins/" google.golang.org/protobuf/cmd/protoc-gen-go storj.io/drpc/cmd/protoc-gen-go-drpc
  PATH=$scratch/plugins:$PATH protoc -I ../../proto \
    --go_out=. --go_opt=module=interop.test/storj \
    --go-drpc_out=. --go-drpc_opt=module=interop.test/storj greeter.proto
  gofmt -w greeter
fi

cd "$here/storj"
go run ./cmd/vectors >"$scratch/go-storj-vectors.json"
go run ./cmd/goldens >"$scratch/go-protobuf.json"
cd "$here/muxstandin"
go run ./cmd/vectors >"$scratch/go-muxstandin-vectors.json"
files=(go-storj-vectors.json go-protobuf.json go-muxstandin-vectors.json)
cd "$here/cockroach"
if provide_cockroach "$scratch"; then
  go run ./cmd/vectors >"$scratch/go-cockroach-vectors.json"
  files+=(go-cockroach-vectors.json)
fi

status=0
for file in "${files[@]}"; do
  if [[ $mode != --check ]]; then
    mkdir -p "$fixtures"
    cp "$scratch/$file" "$fixtures/$file"
  elif ! diff -u "$fixtures/$file" "$scratch/$file"; then
    echo "test/fixtures/$file is not what Go writes: run test/interop/go/generate.sh" >&2
    status=1
  fi
done
exit $status
