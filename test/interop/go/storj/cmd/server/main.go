// Command server is a DRPC server for interop tests, with storj.io/drpc.
package main

import (
	"os"

	"interop.test/storj/serve"
	"interop.test/storj/storjpeer"
)

func main() { os.Exit(serve.Main(storjpeer.Peer, os.Args[1:], os.Stdin, os.Stdout)) }
