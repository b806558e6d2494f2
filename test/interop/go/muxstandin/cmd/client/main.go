// Command client is a DRPC client for interop tests, with the stand-in of package mux.
package main

import (
	"os"

	"interop.test/storj/call"

	"interop.test/muxstandin/mux"
)

func main() { os.Exit(call.Main(mux.Peer, os.Args[1:], os.Stdin, os.Stdout)) }
