package interop_test

import (
	"testing"

	"interop.test/storj/peer"
	"interop.test/storj/scenariotest"
	"interop.test/storj/storjpeer"

	"interop.test/muxstandin/mux"
)

// TestScenarios runs every scenario between the two ends of the stand-in.
func TestScenarios(t *testing.T) {
	for name, options := range map[string]peer.Options{
		"plain":                       {MaxStreams: 1500},
		"flow control":                {FlowControl: true},
		"flow control, small windows": {FlowControl: true, StreamWindow: 64 << 10, SplitSize: 4 << 10},
		"small writer":                {WriterBuffer: 4 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			scenariotest.Run(t, mux.Peer, mux.Peer, options, "all")
		})
	}
	t.Run("few streams", func(t *testing.T) {
		scenariotest.Run(t, mux.Peer, mux.Peer, peer.Options{MaxStreams: 3}, "max-streams")
	})
}

// TestGenerations runs what a client and a server of different generations have in common: one stream at
// a time and no error codes.
func TestGenerations(t *testing.T) {
	const names = "unary,empty,split,4mib,server-stream,server-stream-large,client-stream,client-stream-large," +
		"bidi,bidi-burst,nil,metadata,cancel-unary,cancel-client-stream,cancel-bidi,sequential,greeter-all-types"
	options := peer.Options{SoftCancel: true}
	t.Run("storj client, multiplexing server", func(t *testing.T) {
		scenariotest.Run(t, storjpeer.Peer, mux.Peer, options, names)
	})
	t.Run("multiplexing client, storj server", func(t *testing.T) {
		scenariotest.Run(t, mux.Peer, storjpeer.Peer, options, names)
	})
}
