// Package peer names what differs between DRPC implementations, so that one server program and one
// client program serve all of them.
package peer

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"storj.io/drpc"
	"storj.io/drpc/drpcmetadata"
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
	MaxMessage        int           // largest message with flow control, in bytes
	Compression       string        // how a client compresses its messages and wants the answers; empty: not
}

// Peer is one DRPC implementation.
type Peer struct {
	// Name is what the implementation calls itself in results and events.
	Name string
	// Multiplexes says whether one connection carries several streams at once.
	Multiplexes bool
	// Details says whether errors carry details.
	Details bool
	// Compresses says whether a client can compress its messages.
	Compresses bool
	// LimitsMessages says whether a message above a limit ends its stream alone.
	LimitsMessages bool
	// Conn makes the client end of a connection.
	Conn func(transport net.Conn, options Options) drpc.Conn
	// Serve accepts connections until ctx ends. log is told what could not be returned to anybody.
	Serve func(ctx context.Context, lis net.Listener, handler drpc.Handler, options Options, log func(error)) error
	// Fail makes the error that a handler returns to fail so.
	Fail func(failure Failure) error
	// Read takes a received error apart.
	Read func(err error) Failure
	// Classify names what an error is to the callers of the implementation, as Class does; nil is Class.
	Classify func(err error) string
	// Attach makes a context whose calls carry the metadata too; nil is drpcmetadata.AddPairs.
	Attach func(ctx context.Context, metadata map[string]string) context.Context
}

// Class names the error's identity for Go: eof, canceled, deadline, closed, or rpc for any other.
func Class(err error) string {
	switch {
	case errors.Is(err, io.EOF):
		return "eof"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline"
	case drpc.ClosedError.Has(err):
		return "closed"
	default:
		return "rpc"
	}
}

// Class names what the error is to the implementation's callers.
func (p *Peer) Class(err error) string {
	if p.Classify == nil {
		return Class(err)
	}
	return p.Classify(err)
}

// WithMetadata makes a context whose calls carry the metadata too.
func (p *Peer) WithMetadata(ctx context.Context, metadata map[string]string) context.Context {
	if p.Attach == nil {
		return drpcmetadata.AddPairs(ctx, metadata)
	}
	return p.Attach(ctx, metadata)
}
