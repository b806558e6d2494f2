// Package statusvector makes the fixture of a peer whose errors are google.rpc.Status: payloads of errors, and
// recorded calls.
package statusvector

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"interop.test/storj/call"
	"interop.test/storj/capture"
	"interop.test/storj/fixture"
	"interop.test/storj/peer"
)

// Codec writes and reads the payload of an Error packet.
type Codec struct {
	Marshal   func(err error) []byte
	Unmarshal func(data []byte) error
}

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

// Write writes the fixture of the peer as JSON.
func Write(w io.Writer, source, note string, p *peer.Peer, codec Codec) error {
	v := vectors{Source: source, Note: note}
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
		data := codec.Marshal(p.Fail(failure))
		v.Errors = append(v.Errors, statusError{
			Name: fmt.Sprintf("code %d, %q", failure.Code, failure.Message), Hex: hex.EncodeToString(data),
			Failure: p.Read(codec.Unmarshal(data)), Written: true,
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
		failure := p.Read(codec.Unmarshal(data))
		// Go's protobuf library writes one space or the other, as the hash of the program has it.
		failure.Message = strings.ReplaceAll(failure.Message, "\u00a0", " ")
		v.Errors = append(v.Errors, statusError{Name: c.name, Hex: c.hex, Failure: failure})
	}
	for _, script := range capture.Scripts(p) {
		transcript, err := capture.Record(p, script, false)
		if err != nil {
			return err
		}
		v.Transcripts = append(v.Transcripts, transcript)
	}
	return fixture.Write(w, v)
}
