# Sourced by the scripts beside it, after env.sh.
#
# The module cockroach is built with github.com/cockroachdb/drpc in the place of storj.io/drpc. DRPC_COCKROACH says
# where that is: the directory of a checkout, or a version for the module proxy (a commit, a branch, a
# pseudo-version). Without it the module is left out.

# Before anybody changes the directory.
if [[ -d ${DRPC_COCKROACH:-} ]]; then
  DRPC_COCKROACH=$(cd "$DRPC_COCKROACH" && pwd)
fi

# provide_cockroach DIRECTORY: in the module's directory, makes DIRECTORY/cockroach.mod, which the tracked go.mod
# becomes with the fork in it, and has the go commands after it use that. Returns 1, with a line on stderr, when the
# module is left out; exits with 1 when what DRPC_COCKROACH names is of no use.
provide_cockroach() {
  local fork=${DRPC_COCKROACH:-}
  if [[ -z $fork ]]; then
    echo "left out: github.com/cockroachdb/drpc; DRPC_COCKROACH names no checkout and no version of it" >&2
    return 1
  fi
  if [[ ! -d $fork ]]; then
    fork=github.com/cockroachdb/drpc@$fork
    if ! timeout 120 go mod download "$fork" >/dev/null; then
      echo "DRPC_COCKROACH: no directory, and no version that can be downloaded: $DRPC_COCKROACH" >&2
      exit 1
    fi
  fi
  cp go.mod "$1/cockroach.mod"
  cp go.sum "$1/cockroach.sum"
  go mod edit -replace "storj.io/drpc=$fork" -replace "interop.test/storj=$(cd ../storj && pwd)" "$1/cockroach.mod"
  GOFLAGS="$GOFLAGS -mod=mod -modfile=$1/cockroach.mod"
}
