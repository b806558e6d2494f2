// Command vectors writes error payloads of the status form and recorded calls of the stand-in as JSON to
// stdout.
package main

import (
	"fmt"
	"os"

	"interop.test/storj/fixture"
	"interop.test/storj/statusvector"

	"interop.test/muxstandin/mux"
)

const note = "Errors are google.rpc.Status bytes of the real Go package behind a version byte. Transcripts are of a " +
	"stand-in that is written from this project's own description of the protocol: they show that two " +
	"implementations of it agree, and nothing of cockroachdb/drpc."

func main() {
	source := fixture.Version("google.golang.org/genproto/googleapis/rpc")
	codec := statusvector.Codec{Marshal: mux.MarshalError, Unmarshal: mux.UnmarshalError}
	if err := statusvector.Write(os.Stdout, source, note, mux.Peer, codec); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
