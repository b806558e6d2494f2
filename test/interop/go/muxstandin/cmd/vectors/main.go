// Command vectors writes error payloads of the status form and recorded calls of the stand-in as JSON to
// stdout.
package main

import (
	"encoding/hex"
	"fmt"
	"os"

	"interop.test/storj/call"
	"interop.test/storj/capture"
	"interop.test/storj/peer"
	"interop.test/storj/vector"

	"interop.test/muxstandin/mux"
)

type vectors struct {
	Source      string               `json:"source"`
	Note        string               `json:"note"`
	Errors      []statusError        `json:"errors"`
	Transcripts []capture.Transcript `json:"transcripts"`
}

// statusError is an error payload: 01 and a google.rpc.Status in the bytes of its real Go package.
type statusError struct {
	Name string `json:"name"`
	Hex  string `json:"hex"`
	peer.Failure
	// Written says whether the payload is written so; the others are only read.
	Written bool `json:"written"`
}

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write() error {
	v := vectors{
		Source: vector.Version("google.golang.org/genproto/googleapis/rpc"),
		Note: "Errors are google.rpc.Status bytes of the real Go package behind a version byte. Transcripts are of a " +
			"stand-in that is written from this project's own description of the protocol: they show that two " +
			"implementations of it agree, and nothing of cockroachdb/drpc.",
	}
	for _, failure := range []peer.Failure{
		{Code: 5, Message: "resource not found"},
		{Code: 1, Message: "context canceled"},
		{Code: 2},
		{Code: 16, Message: "größe 👋"},
		{Code: 7, Message: "with a detail", Details: []peer.Detail{call.ErrorInfo}},
		{Code: 8, Message: "with two details", Details: []peer.Detail{
			call.ErrorInfo, {TypeURL: "type.googleapis.com/interop.v1.Nested", Value: []byte("\x0a\x01n")},
		}},
		{Code: 3, Message: "a detail without a value", Details: []peer.Detail{{TypeURL: "type.googleapis.com/google.protobuf.Empty"}}},
		{Code: 300, Message: "a code that gRPC does not have"},
	} {
		data := mux.MarshalError(mux.Peer.Fail(failure))
		v.Errors = append(v.Errors, statusError{
			Name: fmt.Sprintf("code %d, %q", failure.Code, failure.Message), Hex: hex.EncodeToString(data),
			Failure: mux.Read(mux.UnmarshalError(data)), Written: true,
		})
	}
	for _, c := range []struct{ name, hex string }{
		{"nothing", ""},
		{"version 0", "000805"},
		{"version 2", "020805"},
		{"an empty status", "01"},
		{"cut short", "010805120a61"},
		{"fields in another order", "0112016108051a00"},
		{"an unknown field", "0108051201612001"},
	} {
		data, err := hex.DecodeString(c.hex)
		if err != nil {
			return err
		}
		v.Errors = append(v.Errors, statusError{Name: c.name, Hex: c.hex, Failure: mux.Read(mux.UnmarshalError(data))})
	}
	for _, script := range capture.Scripts(mux.Peer) {
		transcript, err := capture.Record(mux.Peer, script, false)
		if err != nil {
			return err
		}
		v.Transcripts = append(v.Transcripts, transcript)
	}
	return vector.Write(os.Stdout, v)
}
