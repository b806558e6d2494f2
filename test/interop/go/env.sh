# Sourced by the scripts beside it: finds Go, or says so in one line and exits with 3.
go_needed=1.26

if ! command -v go >/dev/null && [[ -x /usr/local/go/bin/go ]]; then
  PATH=$PATH:/usr/local/go/bin
fi
if ! command -v go >/dev/null; then
  echo "no Go found (on PATH or in /usr/local/go/bin): Go $go_needed or newer is needed" >&2
  exit 3
fi

# Never fetch a toolchain of its own.
export GOTOOLCHAIN=local GOFLAGS='-trimpath -buildvcs=false' GOWORK=off

go_found=$(go env GOVERSION)
if [[ $(printf '%s\n' "$go_needed" "${go_found#go}" | sort -V | head -n 1) != "$go_needed" ]]; then
  echo "Go $go_needed or newer is needed, found $go_found" >&2
  exit 3
fi
