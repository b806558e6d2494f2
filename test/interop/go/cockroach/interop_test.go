package interop_test

import (
	"testing"

	"interop.test/storj/peer"
	"interop.test/storj/scenariotest"

	"storj.io/drpc/interop/cockroachpeer"
)

// TestScenarios runs every scenario between the two ends of the fork.
func TestScenarios(t *testing.T) {
	for name, options := range map[string]peer.Options{
		"plain":                       {MaxStreams: 1500},
		"flow control":                {FlowControl: true},
		"flow control, small windows": {FlowControl: true, StreamWindow: 64 << 10, SplitSize: 4 << 10},
		"small writer":                {WriterBuffer: 4 << 10},
		"snappy":                      {Compression: "snappy"},
	} {
		t.Run(name, func(t *testing.T) {
			scenariotest.Run(t, cockroachpeer.Peer, cockroachpeer.Peer, options, "all")
		})
	}
	t.Run("few streams", func(t *testing.T) {
		scenariotest.Run(t, cockroachpeer.Peer, cockroachpeer.Peer, peer.Options{MaxStreams: 3}, "max-streams")
	})
}
