// Command vectors writes error payloads and recorded calls of github.com/cockroachdb/drpc as JSON to stdout.
package main

import (
	"fmt"
	"os"

	"storj.io/drpc/drpcwire"
	"storj.io/drpc/interop/cockroachpeer"

	"interop.test/storj/statusvector"
)

const note = "Errors and transcripts are of the fork's own packages; test/interop/go/README.md says in which state of them."

func main() {
	codec := statusvector.Codec{Marshal: drpcwire.MarshalError, Unmarshal: drpcwire.UnmarshalError}
	if err := statusvector.Write(os.Stdout, "github.com/cockroachdb/drpc", note, cockroachpeer.Peer, codec); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
