// Package storjpeer is public storj.io/drpc as a peer: one stream at a time on a connection, errors of
// a code and a text.
package storjpeer

import (
	"context"
	"errors"
	"net"

	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcerr"
	"storj.io/drpc/drpcmanager"
	"storj.io/drpc/drpcserver"
	"storj.io/drpc/drpcstream"
	"storj.io/drpc/drpcwire"

	"interop.test/storj/peer"
)

// Peer is the implementation.
var Peer = &peer.Peer{
	Name: "storj",
	Conn: func(transport net.Conn, options peer.Options) drpc.Conn {
		return drpcconn.NewWithOptions(transport, drpcconn.Options{Manager: Manager(options)})
	},
	Serve: func(ctx context.Context, lis net.Listener, handler drpc.Handler, options peer.Options, log func(error)) error {
		return drpcserver.NewWithOptions(handler, drpcserver.Options{Manager: Manager(options), Log: log}).Serve(ctx, lis)
	},
	Fail: func(failure peer.Failure) error {
		return drpcerr.WithCode(errors.New(failure.Message), failure.Code)
	},
	Read: func(err error) peer.Failure {
		return peer.Failure{Code: drpcerr.Code(err), Message: err.Error()}
	},
}

// Manager translates the options.
func Manager(options peer.Options) drpcmanager.Options {
	return drpcmanager.Options{
		WriterBufferSize:  options.WriterBuffer,
		Reader:            drpcwire.ReaderOptions{MaximumBufferSize: options.MaximumBuffer},
		Stream:            drpcstream.Options{SplitSize: options.SplitSize},
		SoftCancel:        options.SoftCancel,
		InactivityTimeout: options.InactivityTimeout,
	}
}
