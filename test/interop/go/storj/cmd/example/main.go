// Command example is the code of docs/go-interop.md: `example call ADDRESS` calls a Nest service,
// `example serve ADDRESS` serves Nest clients until its stdin ends.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: example call|serve ADDRESS")
	}
	switch address := os.Args[2]; os.Args[1] {
	case "call":
		return call(address)
	case "serve":
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		fmt.Println("LISTEN", listener.Addr())
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
		return serve(ctx, listener)
	default:
		return fmt.Errorf("usage: example call|serve ADDRESS")
	}
}
