// Command vectors writes byte vectors and recorded calls of storj.io/drpc as JSON to stdout.
package main

import (
	"fmt"
	"os"

	"interop.test/storj/capture"
	"interop.test/storj/fixture"
	"interop.test/storj/storjpeer"
	"interop.test/storj/vector"
)

type vectors struct {
	Source       string               `json:"source"`
	Varints      []vector.Varint      `json:"varints"`
	Frames       []vector.Frame       `json:"frames"`
	Packets      []vector.Packet      `json:"packets"`
	LargePackets []vector.LargePacket `json:"largePackets"`
	Metadata     []vector.Metadata    `json:"metadata"`
	Errors       []vector.Error       `json:"errors"`
	Readings     []vector.Reading     `json:"readings"`
	Transcripts  []capture.Transcript `json:"transcripts"`
}

func main() {
	v := vectors{
		Source:       fixture.Version("storj.io/drpc"),
		Varints:      vector.Varints(),
		Frames:       vector.Frames(),
		Packets:      vector.Packets(),
		LargePackets: vector.LargePackets(),
		Metadata:     vector.Metadatas(),
		Errors:       vector.Errors(),
		Readings:     vector.Readings(),
	}
	for _, script := range capture.Scripts(storjpeer.Peer) {
		transcript, err := capture.Record(storjpeer.Peer, script, true)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		v.Transcripts = append(v.Transcripts, transcript)
	}
	if err := fixture.Write(os.Stdout, v); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
