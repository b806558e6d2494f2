// Command client is a DRPC client for interop tests, with github.com/cockroachdb/drpc.
package main

import (
	"os"

	"storj.io/drpc/interop/cockroachpeer"

	"interop.test/storj/call"
)

func main() { os.Exit(call.Main(cockroachpeer.Peer, os.Args[1:], os.Stdin, os.Stdout)) }
