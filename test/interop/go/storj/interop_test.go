package interop_test

import (
	"testing"

	"interop.test/storj/peer"
	"interop.test/storj/scenariotest"
	"interop.test/storj/storjpeer"
)

// TestScenarios runs every scenario between the two ends of storj.io/drpc.
func TestScenarios(t *testing.T) {
	for name, options := range map[string]peer.Options{
		"cancel closes the connection": {},
		"cancel is a frame":            {SoftCancel: true},
		"small frames":                 {SoftCancel: true, SplitSize: 1000, WriterBuffer: 500},
	} {
		t.Run(name, func(t *testing.T) {
			scenariotest.Run(t, storjpeer.Peer, storjpeer.Peer, options, "all")
		})
	}
}
