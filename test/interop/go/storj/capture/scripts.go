package capture

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"storj.io/drpc/drpcwire"

	"interop.test/storj/call"
	"interop.test/storj/greeter"
	"interop.test/storj/peer"
	"interop.test/storj/service"
)

// hour is a delay that a cancel always cuts short, in milliseconds.
const hour = 3_600_000

// Scripts returns the scripts for the peer. Cancels are frames in all of them.
func Scripts(p *peer.Peer) []Script {
	return slices.DeleteFunc(scripts(), func(s Script) bool {
		return s.Multiplexed && !p.Multiplexes || s.Compressed && !p.Compresses || s.Limited && !p.LimitsMessages
	})
}

func scripts() []Script {
	soft := peer.Options{SoftCancel: true}
	return []Script{
		{
			Name: "unary", HoldCloseSend: true,
			Note: "the client closes as soon as it has the answer, before the server's CloseSend has arrived",
			Run:  echo([]byte("hello")),
		},
		{
			Name: "unary, read to the end",
			Note: "the client waits for the server's CloseSend: both sides are closed and no Close is sent",
			Run: func(ctx context.Context, s *Session) error {
				stream, err := s.request(ctx, "Echo", []byte("hello"))
				if err != nil {
					return err
				}
				return s.drain(stream)
			},
		},
		{Name: "unary, empty message both ways", HoldCloseSend: true, Run: echo(nil)},
		{
			Name: "unary with metadata", HoldCloseSend: true, Note: "metadata key: value",
			Run: func(ctx context.Context, s *Session) error {
				return s.invoke(s.Peer.WithMetadata(ctx, map[string]string{"key": "value"}), "EchoMeta", nil)
			},
		},
		{
			Name: "unary without an answer",
			Run: func(ctx context.Context, s *Session) error {
				_, err := call.Invoke(ctx, s.Conn, service.Prefix+"Nil", nil)
				return s.Failed(err)
			},
		},
		{
			Name: "unary, split in frames of 16 bytes", HoldCloseSend: true,
			Note:    "name and message are split; a message of 32 bytes goes out as two full frames",
			Options: peer.Options{SplitSize: 16},
			Run: func(ctx context.Context, s *Session) error {
				return s.invoke(ctx, "Echo", service.Fill(0, 32))
			},
		},
		{
			Name: "server stream",
			Run: func(ctx context.Context, s *Session) error {
				stream, err := s.requestJSON(ctx, "Count", service.CountRequest{N: 3})
				if err != nil {
					return err
				}
				return s.drain(stream)
			},
		},
		{
			Name: "server stream without messages",
			Run: func(ctx context.Context, s *Session) error {
				stream, err := s.requestJSON(ctx, "Count", service.CountRequest{})
				if err != nil {
					return err
				}
				return s.drain(stream)
			},
		},
		{
			Name: "client stream",
			Run: func(ctx context.Context, s *Session) error {
				stream, err := s.open(ctx, "Sum")
				if err != nil {
					return err
				}
				for k := 1; k <= 3; k++ {
					if err := stream.Send(strconv.AppendInt(nil, int64(k), 10)); err != nil {
						return err
					}
				}
				if err := stream.CloseSend(); err != nil {
					return err
				}
				return s.drain(stream)
			},
		},
		{
			Name: "client stream without messages",
			Run: func(ctx context.Context, s *Session) error {
				stream, err := s.open(ctx, "Sum")
				if err != nil {
					return err
				}
				if err := stream.CloseSend(); err != nil {
					return err
				}
				return s.drain(stream)
			},
		},
		{
			Name: "bidirectional",
			Run: func(ctx context.Context, s *Session) error {
				stream, err := s.open(ctx, "Chat")
				if err != nil {
					return err
				}
				for _, text := range []string{"one", "two"} {
					if err := s.pingPong(stream, text); err != nil {
						return err
					}
				}
				if err := stream.CloseSend(); err != nil {
					return err
				}
				return s.drain(stream)
			},
		},
		{
			Name: "error", SendFirst: true, Note: "code 5 with a google.rpc.ErrorInfo detail, which storj drops",
			Run: func(ctx context.Context, s *Session) error {
				request, err := json.Marshal(peer.Failure{Code: 5, Message: "no such thing", Details: []peer.Detail{call.ErrorInfo}})
				if err != nil {
					return err
				}
				_, err = call.Invoke(ctx, s.Conn, service.Prefix+"Fail", request)
				return s.Failed(err)
			},
		},
		{
			Name: "error after values", SendFirst: true,
			Run: func(ctx context.Context, s *Session) error {
				stream, err := s.requestJSON(ctx, "FailAfter", service.FailAfterRequest{
					N: 2, Failure: peer.Failure{Code: 9, Message: "after two"},
				})
				if err != nil {
					return err
				}
				return s.Failed(s.drain(stream))
			},
		},
		{
			Name: "unknown rpc", SendFirst: true,
			Run: func(ctx context.Context, s *Session) error {
				_, err := call.Invoke(ctx, s.Conn, service.Prefix+"Missing", []byte("hello"))
				return s.Failed(err)
			},
		},
		{
			Name: "cancel, unary", Options: soft,
			Run: func(ctx context.Context, s *Session) error {
				return s.cancelHang(ctx)
			},
		},
		{
			Name: "cancel, server stream", Options: soft,
			Run: func(ctx context.Context, s *Session) error {
				canceled, cancel := context.WithCancel(ctx)
				defer cancel()
				stream, err := s.requestJSON(canceled, "Count", service.CountRequest{N: 2, DelayMs: hour})
				if err != nil {
					return err
				}
				if err := s.recv(stream); err != nil {
					return err
				}
				cancel()
				return s.canceled(ctx, s.drain(stream))
			},
		},
		{
			Name: "cancel, client stream", Options: soft,
			Run: func(ctx context.Context, s *Session) error {
				canceled, cancel := context.WithCancel(ctx)
				defer cancel()
				stream, err := s.open(canceled, "Sink")
				if err != nil {
					return err
				}
				if err := stream.Send([]byte("one")); err != nil {
					return err
				}
				cancel()
				return s.canceled(ctx, s.drain(stream))
			},
		},
		{
			Name: "cancel, bidirectional", Options: soft,
			Run: func(ctx context.Context, s *Session) error {
				canceled, cancel := context.WithCancel(ctx)
				defer cancel()
				stream, err := s.open(canceled, "Chat")
				if err != nil {
					return err
				}
				if err := s.pingPong(stream, "one"); err != nil {
					return err
				}
				cancel()
				return s.canceled(ctx, s.drain(stream))
			},
		},
		{
			Name: "closed by the client before the end",
			Run: func(ctx context.Context, s *Session) error {
				stream, err := s.requestJSON(ctx, "Count", service.CountRequest{N: 2, DelayMs: hour})
				if err != nil {
					return err
				}
				if err := s.recv(stream); err != nil {
					return err
				}
				if err := stream.Close(); err != nil {
					return err
				}
				return s.Await(ctx, "end")
			},
		},
		{
			Name: "two calls, one after the other", HoldCloseSend: true,
			Note: "the second call is read to its end",
			Run: func(ctx context.Context, s *Session) error {
				if err := s.invoke(ctx, "Echo", []byte("one")); err != nil {
					return err
				}
				stream, err := s.request(ctx, "Echo", []byte("two"))
				if err != nil {
					return err
				}
				return s.drain(stream)
			},
		},
		{
			Name: "a cancel and another call", Options: soft,
			Run: func(ctx context.Context, s *Session) error {
				if err := s.cancelHang(ctx); err != nil {
					return err
				}
				stream, err := s.request(ctx, "Echo", []byte("two"))
				if err != nil {
					return err
				}
				return s.drain(stream)
			},
		},
		{
			Name: "protobuf, unary", HoldCloseSend: true, Note: "/interop.v1.Greeter/SayHello",
			Run: func(ctx context.Context, s *Session) error {
				reply, err := greeter.NewDRPCGreeterClient(s.Conn).SayHello(ctx, &greeter.HelloRequest{Name: "Ada"})
				if err != nil {
					return err
				}
				data, err := proto.Marshal(reply)
				s.Received(data)
				return err
			},
		},
		{
			Name: "two streams at once", Multiplexed: true,
			Run: func(ctx context.Context, s *Session) error {
				var streams [2]*call.Stream
				for k, text := range []string{"one", "two"} {
					stream, err := s.open(ctx, "Chat")
					if err != nil {
						return err
					}
					if err := s.pingPong(stream, text); err != nil {
						return err
					}
					streams[k] = stream
				}
				for k, text := range []string{"three", "four"} {
					if err := s.pingPong(streams[k], text); err != nil {
						return err
					}
				}
				for _, stream := range streams {
					if err := stream.CloseSend(); err != nil {
						return err
					}
					if err := s.drain(stream); err != nil {
						return err
					}
				}
				return nil
			},
		},
		{
			Name: "one stream too many", Multiplexed: true, Options: peer.Options{MaxStreams: 1},
			Note: "the server runs one stream at a time on a connection; the second is refused, the first goes on",
			Run: func(ctx context.Context, s *Session) error {
				first, err := s.open(ctx, "Chat")
				if err != nil {
					return err
				}
				if err := s.pingPong(first, "one"); err != nil {
					return err
				}
				second, err := s.open(ctx, "Chat")
				if err != nil {
					return err
				}
				if err := s.Failed(s.drain(second)); err != nil {
					return err
				}
				if err := s.pingPong(first, "two"); err != nil {
					return err
				}
				if err := first.CloseSend(); err != nil {
					return err
				}
				return s.drain(first)
			},
		},
		{
			Name: "flow control", Multiplexed: true,
			Options: peer.Options{FlowControl: true, StreamWindow: 1024, SplitSize: 256},
			Note:    "window 1024, grants from 256 bytes on, frames of 256 bytes: every message of 300 bytes is granted back",
			Run: func(ctx context.Context, s *Session) error {
				stream, err := s.open(ctx, "Chat")
				if err != nil {
					return err
				}
				for k := range 3 {
					if err := s.pingPong(stream, string(service.Fill(k, 300))); err != nil {
						return err
					}
				}
				if err := stream.CloseSend(); err != nil {
					return err
				}
				return s.drain(stream)
			},
		},
		{
			Name: "a message too large", Limited: true, MaxMessage: 1000,
			Options: peer.Options{FlowControl: true},
			Note:    "the server takes messages of 1000 bytes: one of 1001 ends its stream, another goes on",
			Run: func(ctx context.Context, s *Session) error {
				other, err := s.open(ctx, "Chat")
				if err != nil {
					return err
				}
				if err := s.pingPong(other, "one"); err != nil {
					return err
				}
				stream, err := s.open(ctx, "Chat")
				if err != nil {
					return err
				}
				if err := stream.Send(service.Fill(0, 1001)); err != nil {
					return err
				}
				if err := s.Failed(s.drain(stream)); err != nil {
					return err
				}
				if err := s.pingPong(other, "two"); err != nil {
					return err
				}
				if err := other.CloseSend(); err != nil {
					return err
				}
				return s.drain(other)
			},
		},
		{
			Name: "compressed", Compressed: true, Options: peer.Options{Compression: "snappy"},
			Note: "metadata drpc-compression: snappy; each message of both directions is one block of Snappy",
			Run: func(ctx context.Context, s *Session) error {
				stream, err := s.open(ctx, "Chat")
				if err != nil {
					return err
				}
				for _, text := range []string{"hello", "", strings.Repeat("ab", 40)} {
					if err := s.pingPong(stream, text); err != nil {
						return err
					}
				}
				if err := stream.CloseSend(); err != nil {
					return err
				}
				return s.drain(stream)
			},
		},
	}
}

func echo(data []byte) func(context.Context, *Session) error {
	return func(ctx context.Context, s *Session) error { return s.invoke(ctx, "Echo", data) }
}

func (s *Session) invoke(ctx context.Context, method string, data []byte) error {
	answer, err := call.Invoke(ctx, s.Conn, service.Prefix+method, data)
	if err != nil {
		return err
	}
	s.Received(answer)
	return nil
}

func (s *Session) open(ctx context.Context, method string) (*call.Stream, error) {
	stream, err := s.Conn.NewStream(ctx, service.Prefix+method, service.Encoding{})
	if err != nil {
		return nil, err
	}
	return &call.Stream{Stream: stream}, nil
}

// request opens a stream with one message.
func (s *Session) request(ctx context.Context, method string, data []byte) (*call.Stream, error) {
	stream, err := s.open(ctx, method)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(data); err != nil {
		return nil, err
	}
	s.halfClosed++
	return stream, stream.CloseSend()
}

func (s *Session) requestJSON(ctx context.Context, method string, value any) (*call.Stream, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return s.request(ctx, method, data)
}

func (s *Session) recv(stream *call.Stream) error {
	data, err := stream.Recv()
	if err != nil {
		return err
	}
	s.Received(data)
	return nil
}

// drain receives to the end; nil is the ordinary one.
func (s *Session) drain(stream *call.Stream) error {
	for {
		if err := s.recv(stream); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (s *Session) pingPong(stream *call.Stream, text string) error {
	if err := stream.Send([]byte(text)); err != nil {
		return err
	}
	return s.recv(stream)
}

func (s *Session) cancelHang(ctx context.Context) error {
	canceled, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := call.Invoke(canceled, s.Conn, service.Prefix+"Hang", []byte("hello"))
		done <- err
	}()
	if err := s.Await(ctx, "start"); err != nil {
		return err
	}
	if err := s.client.wrote(ctx, drpcwire.KindCloseSend); err != nil {
		return err
	}
	cancel()
	return s.canceled(ctx, <-done)
}

// canceled records the error of a canceled call and waits until both sides have done all they do.
func (s *Session) canceled(ctx context.Context, err error) error {
	if err := s.Failed(err); err != nil {
		return err
	}
	if err := s.CancelSent(ctx); err != nil {
		return err
	}
	return s.Await(ctx, "end")
}
