// Command server is a DRPC server for interop tests, with the stand-in of package mux.
package main

import (
	"os"

	"interop.test/storj/serve"

	"interop.test/muxstandin/mux"
)

func main() { os.Exit(serve.Main(mux.Peer, os.Args[1:], os.Stdin, os.Stdout)) }
