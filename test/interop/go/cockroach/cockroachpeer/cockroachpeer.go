// Package cockroachpeer is the multiplexing github.com/cockroachdb/drpc as a peer: many streams on a connection,
// errors of google.rpc.Status, per-stream windows when they are switched on.
package cockroachpeer

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"net"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcmanager"
	"storj.io/drpc/drpcmetadata"
	"storj.io/drpc/drpcserver"
	"storj.io/drpc/drpcstream"
	"storj.io/drpc/drpcwire"
	"storj.io/drpc/internal/drpcopts"

	"interop.test/storj/peer"
)

// Peer is the implementation.
var Peer = &peer.Peer{
	Name:           "cockroach",
	Multiplexes:    true,
	Details:        true,
	Compresses:     true,
	LimitsMessages: true,
	Conn: func(transport net.Conn, options peer.Options) drpc.Conn {
		return drpcconn.NewWithOptions(transport, drpcconn.Options{Manager: Manager(options)})
	},
	Serve: func(ctx context.Context, lis net.Listener, handler drpc.Handler, options peer.Options, log func(error)) error {
		return drpcserver.NewWithOptions(handler, drpcserver.Options{Manager: Manager(options), Log: log}).Serve(ctx, lis)
	},
	Fail:     Fail,
	Read:     Read,
	Classify: Class,
	Attach:   Attach,
}

// Manager translates the options.
func Manager(options peer.Options) drpcmanager.Options {
	stream := drpcstream.Options{SplitSize: options.SplitSize}
	if options.FlowControl {
		// A window of no bytes would make the fork take its defaults for the rest too.
		window := int64(cmp.Or(options.StreamWindow, 2<<20))
		drpcopts.SetStreamFlowControl(&stream.Internal, drpcopts.FlowControl{
			Enabled: true, StreamWindow: window, GrantThreshold: window / 4, MaxMessageSize: int64(options.MaxMessage),
		})
	}
	manager := drpcmanager.Options{
		Reader:     drpcwire.ReaderOptions{MaximumBufferSize: options.MaximumBuffer},
		Writer:     drpcwire.WriterOptions{MaximumBufferSize: options.WriterBuffer},
		Stream:     stream,
		MaxStreams: options.MaxStreams,
	}
	if options.Compression != "" {
		compression, ok := drpcwire.CompressionFromName(options.Compression)
		if !ok {
			panic("no such compression: " + options.Compression)
		}
		manager.CompressionFunc = func() drpc.Compression { return compression }
	}
	return manager
}

// Fail makes a status of the failure.
func Fail(failure peer.Failure) error {
	s := status.New(codes.Code(failure.Code), failure.Message).Proto()
	for _, detail := range failure.Details {
		s.Details = append(s.Details, &anypb.Any{TypeUrl: detail.TypeURL, Value: detail.Value})
	}
	return status.ErrorProto(s)
}

// Read takes an error apart, which is a status unless it is a plain end.
func Read(err error) peer.Failure {
	if errors.Is(err, io.EOF) {
		return peer.Failure{Message: err.Error()}
	}
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	failure := peer.Failure{Code: uint64(s.Code()), Message: s.Message()}
	for _, detail := range s.Proto().GetDetails() {
		failure.Details = append(failure.Details, peer.Detail{
			TypeURL: detail.GetTypeUrl(), Value: append([]byte{}, detail.GetValue()...),
		})
	}
	return failure
}

// Class names an error by the code that the fork gives its own ends: none of them is context.Canceled any more.
func Class(err error) string {
	if errors.Is(err, io.EOF) {
		return "eof"
	}
	switch status.Code(err) {
	case codes.Canceled:
		return "canceled"
	case codes.DeadlineExceeded:
		return "deadline"
	case codes.Unavailable:
		return "closed"
	default:
		return "rpc"
	}
}

// Attach adds to the metadata of outgoing calls; what AddPairs adds to is the metadata of an incoming one.
func Attach(ctx context.Context, metadata map[string]string) context.Context {
	all, _ := drpcmetadata.GetFromOutgoingContext(ctx)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, metadata)
	return drpcmetadata.NewOutgoingContext(ctx, all)
}
