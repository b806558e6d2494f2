package main

import (
	"context"
	"fmt"
	"net"

	"storj.io/drpc"
	"storj.io/drpc/drpcerr"
	"storj.io/drpc/drpcserver"
)

var books = []Book{{"Flatland", 1884}, {"Frankenstein", 1818}, {"Middlemarch", 1871}}

type handler struct{}

// HandleRPC serves one rpc. It reads all that it is sent before it ends: a connection of storj.io/drpc stands
// still behind a message that nobody takes.
func (handler) HandleRPC(stream drpc.Stream, rpc string) error {
	var query Query
	if err := stream.MsgRecv(&query, JSON{}); err != nil {
		return err
	}
	switch rpc {
	case "/library.Books/Find":
		for _, book := range books {
			if book.Title == query.Title {
				return stream.MsgSend(&book, JSON{})
			}
		}
		return drpcerr.WithCode(fmt.Errorf("no book is called %s", query.Title), 5)
	case "/library.Books/List":
		for _, book := range books {
			if err := stream.MsgSend(&book, JSON{}); err != nil {
				return err
			}
		}
		return nil
	default:
		return drpcerr.WithCode(fmt.Errorf("unknown rpc: %q", rpc), 12)
	}
}

// serve serves Nest clients, and others.
func serve(ctx context.Context, listener net.Listener) error {
	return drpcserver.New(handler{}).Serve(ctx, listener)
}
