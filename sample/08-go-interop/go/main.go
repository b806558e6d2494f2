// The stock of a shop: serves Stock over DRPC and calls Prices of the Nest service.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"sync"

	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcerr"
	"storj.io/drpc/drpcmanager"
	"storj.io/drpc/drpcmux"
	"storj.io/drpc/drpcserver"

	"shop.test/stock/shop"
)

const (
	stockAddr  = "127.0.0.1:4018"
	pricesAddr = "127.0.0.1:4008"
)

// The codes of gRPC, which Nest reads as DrpcCode.
const resourceExhausted = 8

// A canceled call sends Cancel; without it the connection is closed.
var manager = drpcmanager.Options{SoftCancel: true}

type stock struct {
	mu      sync.Mutex
	left    map[string]uint32
	changed chan struct{} // closed at each change, and made anew
}

func (s *stock) Reserve(ctx context.Context, in *shop.ReserveRequest) (*shop.ReserveReply, error) {
	quote, err := quote(ctx, in.GetItem(), in.GetCount())
	if err != nil {
		return nil, err // with the code that Nest gave it
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left[in.GetItem()] < in.GetCount() {
		return nil, drpcerr.WithCode(errors.New("sold out"), resourceExhausted)
	}
	s.left[in.GetItem()] -= in.GetCount()
	close(s.changed)
	s.changed = make(chan struct{})
	fmt.Printf("reserved %d of %s\n", in.GetCount(), in.GetItem())
	return &shop.ReserveReply{Left: s.left[in.GetItem()], TotalCents: quote.GetTotalCents()}, nil
}

func (s *stock) Watch(in *shop.WatchRequest, stream shop.DRPCStock_WatchStream) error {
	for {
		s.mu.Lock()
		level, changed := &shop.Level{Left: s.left[in.GetItem()]}, s.changed
		s.mu.Unlock()
		if err := stream.Send(level); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			fmt.Printf("nobody watches %s any more\n", in.GetItem())
			return stream.Context().Err()
		}
	}
}

// quote asks the Nest service. A busy program would keep connections, as drpcpool does.
func quote(ctx context.Context, item string, count uint32) (*shop.QuoteReply, error) {
	socket, err := (&net.Dialer{}).DialContext(ctx, "tcp", pricesAddr)
	if err != nil {
		return nil, err
	}
	conn := drpcconn.NewWithOptions(socket, drpcconn.Options{Manager: manager})
	defer func() { _ = conn.Close() }()
	return shop.NewDRPCPricesClient(conn).Quote(ctx, &shop.QuoteRequest{Item: item, Count: count})
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	mux := drpcmux.New()
	shelves := &stock{left: map[string]uint32{"lemon": 10, "melon": 5}, changed: make(chan struct{})}
	if err := shop.DRPCRegisterStock(mux, shelves); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", stockAddr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening")
	server := drpcserver.NewWithOptions(mux, drpcserver.Options{Manager: manager})
	if err := server.Serve(ctx, listener); err != nil {
		log.Fatal(err)
	}
}
