// Package peer names what differs between DRPC implementations, so that one server program and one
// client program serve all of them.
package peer

import (
	"context"
	"net"
	"time"

	"storj.io/drpc"
)

// Detail is one detail of a failure: a google.protobuf.Any, its value in base64 when written as JSON.
type Detail struct {
	TypeURL string `json:"typeUrl"`
	Value   []byte `json:"value"`
}

// Failure is an rpc error as it travels.
type Failure struct {
	Code    uint64   `json:"code"`
	Message string   `json:"message"`
	Details []Detail `json:"details,omitempty"`
}

// Options are the settings of one connection. Zero means the implementation's default.
type Options struct {
	MaximumBuffer     int           // largest frame and message that is read, in bytes
	SplitSize         int           // largest frame that is written, in bytes; negative: never split
	WriterBuffer      int           // size of the write buffer, in bytes
	SoftCancel        bool          // a canceled call sends Cancel instead of closing the connection
	InactivityTimeout time.Duration // how long a server waits for the next rpc
	MaxStreams        int           // streams a server runs at once on a connection; 0 is no limit
	FlowControl       bool          // per-stream windows in both directions
	StreamWindow      int           // initial send credit of a stream, in bytes
}

// Peer is one DRPC implementation.
type Peer struct {
	// Name is what the implementation calls itself in results and events.
	Name string
	// Multiplexes says whether one connection carries several streams at once.
	Multiplexes bool
	// Details says whether errors carry details.
	Details bool
	// Conn makes the client end of a connection.
	Conn func(transport net.Conn, options Options) drpc.Conn
	// Serve accepts connections until ctx ends. log is told what could not be returned to anybody.
	Serve func(ctx context.Context, lis net.Listener, handler drpc.Handler, options Options, log func(error)) error
	// Fail makes the error that a handler returns to fail so.
	Fail func(failure Failure) error
	// Read takes a received error apart.
	Read func(err error) Failure
}
