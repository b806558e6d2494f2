// Command server is a DRPC server for interop tests, with github.com/cockroachdb/drpc.
package main

import (
	"os"

	"storj.io/drpc/interop/cockroachpeer"

	"interop.test/storj/serve"
)

func main() { os.Exit(serve.Main(cockroachpeer.Peer, os.Args[1:], os.Stdin, os.Stdout)) }
