// Command client is a DRPC client for interop tests, with storj.io/drpc.
package main

import (
	"os"

	"interop.test/storj/call"
	"interop.test/storj/storjpeer"
)

func main() { os.Exit(call.Main(storjpeer.Peer, os.Args[1:], os.Stdin, os.Stdout)) }
