package interop_test

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
	"interop.test/storj/storjpeer"
)

// TestScenarios runs every scenario between the two ends of storj.io/drpc, with both ways to cancel.
func TestScenarios(t *testing.T) {
	for name, options := range map[string]peer.Options{
		"cancel closes the connection": {},
		"cancel is a frame":            {SoftCancel: true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			log := event.New(io.Discard)
			go func() {
				_ = serve.Serve(ctx, storjpeer.Peer, &serve.Listener{Listener: lis, Log: log}, false, options, log)
			}()

			client := &call.Client{
				Peer: storjpeer.Peer, Network: "tcp", Addr: lis.Addr().String(), Options: options,
				// storj cancels with a frame only when the canceled call has left its write lock, of which no
				// event tells.
				Ready: func(context.Context, string) error { time.Sleep(50 * time.Millisecond); return nil },
			}
			scenarios, err := call.Select("all", client)
			if err != nil {
				t.Fatal(err)
			}
			for _, scenario := range scenarios {
				t.Run(scenario.Name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
					defer cancel()
					if result := client.Play(ctx, scenario); !result.OK {
						t.Errorf("%+v", result)
					}
				})
			}
		})
	}
}
