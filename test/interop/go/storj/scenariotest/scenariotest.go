// Package scenariotest runs scenarios between a client and a server in one process.
package scenariotest

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"interop.test/storj/call"
	"interop.test/storj/event"
	"interop.test/storj/peer"
	"interop.test/storj/serve"
)

// Run runs the scenarios that call.Select finds for the names.
func Run(t *testing.T, client, server *peer.Peer, options peer.Options, names string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := event.New(io.Discard)
	go func() {
		_ = serve.Serve(ctx, server, &serve.Listener{Listener: lis, Log: log}, false, options, log)
	}()

	c := &call.Client{
		Peer: client, Network: "tcp", Addr: lis.Addr().String(), Options: options,
		// storj cancels with a frame only when the canceled call has left its write lock, of which no event
		// tells.
		Ready: func(context.Context, string) error { time.Sleep(50 * time.Millisecond); return nil },
	}
	scenarios, err := call.Select(names, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, scenario := range scenarios {
		t.Run(scenario.Name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			if result := c.Play(ctx, scenario); !result.OK {
				t.Errorf("%+v", result)
			}
		})
	}
}
