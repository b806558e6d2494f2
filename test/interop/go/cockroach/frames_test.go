package interop_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"storj.io/drpc/drpcmetadata"
	"storj.io/drpc/drpcwire"
	"storj.io/drpc/interop/cockroachpeer"

	"interop.test/storj/event"
	"interop.test/storj/peer"
	"interop.test/storj/serve"
	"interop.test/storj/service"
)

const (
	echo = service.Prefix + "Echo"
	chat = service.Prefix + "Chat"
	// fence is the stream of a call at the end of every case: when it is answered, so is all before it.
	fence = 1000
	// unknown is a kind that nobody has.
	unknown = drpcwire.Kind(40)
)

// TestFrames sends frames of every sort to the fork's server. Our own server and client rely on what it makes of
// them; a version of the fork that thinks otherwise fails here.
func TestFrames(t *testing.T) {
	open := step{
		send: []drpcwire.Frame{frame(drpcwire.KindInvoke, 1, 1, chat), frame(drpcwire.KindMessage, 1, 2, "hello")},
		want: []string{"Message s1 m1 hello"},
	}
	for _, c := range []struct {
		name    string
		options peer.Options
		steps   []step
		// closed: the server ends the connection.
		closed bool
	}{
		{name: "a window update, flow control off", steps: []step{open, {send: []drpcwire.Frame{drpcwire.WindowUpdateFrame(1, 100)}}}},
		{name: "a window update on no stream", steps: []step{{send: []drpcwire.Frame{drpcwire.WindowUpdateFrame(7, 100)}}}},
		{
			name: "a window update that is none", options: peer.Options{FlowControl: true},
			steps: []step{open, one(control(frame(drpcwire.KindWindowUpdate, 1, 0, "\x00")))},
		},
		{name: "an unknown kind with the control bit", steps: []step{open, one(control(frame(unknown, 1, 3, "x")))}},
		{name: "an unknown kind without it", steps: []step{open, one(frame(unknown, 1, 3, "x"))}, closed: true},
		{name: "an unknown kind without it on no stream", steps: []step{one(frame(unknown, 1, 1, "x"))}},
		{name: "a message on no stream", steps: []step{one(frame(drpcwire.KindMessage, 1, 1, "x"))}},
		{name: "a cancel on no stream", steps: []step{one(control(frame(drpcwire.KindCancel, 1, 1, "")))}},
		{name: "a cancel without the control bit", steps: []step{open, one(frame(drpcwire.KindCancel, 1, 3, ""))}},
		{name: "a close of a finished stream", steps: []step{unary(1, "one"), one(frame(drpcwire.KindClose, 1, 4, ""))}},
		{name: "a lower stream", steps: []step{unary(9, "nine"), unary(3, "three")}},
		{name: "an invoke of a live stream", steps: []step{open, one(frame(drpcwire.KindInvoke, 1, 3, chat))}, closed: true},
		{name: "metadata of a live stream", steps: []step{open, one(frame(drpcwire.KindInvokeMetadata, 1, 3, pair("key", "value")))}, closed: true},
		{name: "metadata that is none", steps: []step{one(frame(drpcwire.KindInvokeMetadata, 1, 1, "\xff"))}, closed: true},
		{name: "metadata twice: the second replaces the first", steps: []step{{
			send: []drpcwire.Frame{
				frame(drpcwire.KindInvokeMetadata, 1, 1, pair("first", "one")),
				frame(drpcwire.KindInvokeMetadata, 1, 2, pair("key", "value")),
				frame(drpcwire.KindInvoke, 1, 3, service.Prefix+"EchoMeta"),
				frame(drpcwire.KindMessage, 1, 4, ""),
				frame(drpcwire.KindCloseSend, 1, 5, ""),
			},
			want: answer(1, `{"key":"value"}`),
		}}},
		{name: "a compression that nobody has", steps: []step{{send: []drpcwire.Frame{
			frame(drpcwire.KindInvokeMetadata, 1, 1, pair(drpcwire.CompressionMetadataKey, "nobody-has-this")),
			frame(drpcwire.KindInvoke, 1, 2, echo),
		}}}, closed: true},
		{name: "message id 0", steps: []step{one(frame(drpcwire.KindInvoke, 1, 0, echo))}, closed: true},
		{name: "a message id again", steps: []step{open, one(frame(drpcwire.KindMessage, 1, 2, "x"))}, closed: true},
		{name: "another kind in the middle of a message", steps: []step{open, {send: []drpcwire.Frame{
			part(frame(drpcwire.KindMessage, 1, 3, "x")), frame(drpcwire.KindCloseSend, 1, 3, ""),
		}}}, closed: true},
		{name: "a message given up for the next", steps: []step{open, {
			send: []drpcwire.Frame{part(frame(drpcwire.KindMessage, 1, 3, "x")), frame(drpcwire.KindMessage, 1, 5, "y")},
			want: []string{"Message s1 m2 y"},
		}}},
		{name: "the probe of peer 'auto'", steps: []step{{
			send: []drpcwire.Frame{
				frame(drpcwire.KindInvoke, 1, 1, "/nestjs.drpc.v1.Control/Open"), frame(drpcwire.KindMessage, 1, 2, "{}"),
			},
			want: []string{`Error s1 m1 2: protocol error: unknown rpc: "/nestjs.drpc.v1.Control/Open"`},
		}}},
		{name: "one stream too many", options: peer.Options{MaxStreams: 1}, steps: []step{
			open,
			{
				send: []drpcwire.Frame{frame(drpcwire.KindInvoke, 2, 1, echo), frame(drpcwire.KindMessage, 2, 2, "x")},
				want: []string{"Error s2 m1 2: too many concurrent streams: refused: at most 1 concurrent streams"},
			},
			{send: []drpcwire.Frame{frame(drpcwire.KindCloseSend, 1, 3, "")}, want: []string{"CloseSend s1 m2"}},
		}},
		{name: "metadata alone takes no place", options: peer.Options{MaxStreams: 1}, steps: []step{
			one(frame(drpcwire.KindInvokeMetadata, 1, 1, pair("key", "value"))), unary(2, "two"),
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := dial(t, c.options)
			frames := drpcwire.NewReader(conn)
			for _, step := range c.steps {
				send(t, conn, step.send)
				for _, want := range step.want {
					if got := next(t, frames); got != want {
						t.Fatalf("got %q instead of %q", got, want)
					}
				}
			}
			if c.closed {
				if f, err := frames.ReadFrame(); err == nil {
					t.Fatalf("the connection lives: %s", show(f))
				} else if !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
					t.Fatal(err)
				}
				return
			}
			// A stream takes its place a little longer than it lives: the call is made until there is one.
			for id := uint64(fence); ; id++ {
				call := unary(id, "fence")
				send(t, conn, call.send)
				first := next(t, frames)
				if c.options.MaxStreams > 0 && strings.HasPrefix(first, "Error") {
					continue
				}
				if first != call.want[0] || next(t, frames) != call.want[1] {
					t.Fatalf("instead of the answer: %s", first)
				}
				return
			}
		})
	}
}

// step is frames that are sent and those that come back upon them.
type step struct {
	send []drpcwire.Frame
	want []string
}

func one(f drpcwire.Frame) step { return step{send: []drpcwire.Frame{f}} }

// unary is a call of Echo.
func unary(stream uint64, text string) step {
	return step{
		send: []drpcwire.Frame{
			frame(drpcwire.KindInvoke, stream, 1, echo),
			frame(drpcwire.KindMessage, stream, 2, text),
			frame(drpcwire.KindCloseSend, stream, 3, ""),
		},
		want: answer(stream, text),
	}
}

func answer(stream uint64, text string) []string {
	return []string{fmt.Sprintf("Message s%d m1 %s", stream, text), fmt.Sprintf("CloseSend s%d m2", stream)}
}

// pair is metadata of one pair.
func pair(key, value string) string {
	data, err := drpcmetadata.Encode(nil, map[string]string{key: value})
	if err != nil {
		panic(err)
	}
	return string(data)
}

func frame(kind drpcwire.Kind, stream, message uint64, data string) drpcwire.Frame {
	return drpcwire.Frame{
		ID: drpcwire.ID{Stream: stream, Message: message}, Kind: kind, Data: []byte(data), Done: true,
	}
}

func control(f drpcwire.Frame) drpcwire.Frame { f.Control = true; return f }

func part(f drpcwire.Frame) drpcwire.Frame { f.Done = false; return f }

func show(f drpcwire.Frame) string {
	text := string(f.Data)
	if f.Kind == drpcwire.KindError {
		failure := cockroachpeer.Read(drpcwire.UnmarshalError(f.Data))
		text = fmt.Sprintf("%d: %s", failure.Code, failure.Message)
	}
	if f.Control {
		text += " (control)"
	}
	return strings.TrimSpace(fmt.Sprintf("%s s%d m%d %s", f.Kind, f.ID.Stream, f.ID.Message, text))
}

// dial connects to a server of its own.
func dial(t *testing.T, options peer.Options) net.Conn {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := event.New(io.Discard)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = serve.Serve(ctx, cockroachpeer.Peer, &serve.Listener{Listener: lis, Log: log}, false, options, log)
	}()
	conn, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); cancel(); <-served })
	return conn
}

func send(t *testing.T, conn net.Conn, frames []drpcwire.Frame) {
	t.Helper()
	var data []byte
	for _, f := range frames {
		data = drpcwire.AppendFrame(data, f)
	}
	if _, err := conn.Write(data); err != nil {
		t.Fatal(err)
	}
}

func next(t *testing.T, frames *drpcwire.Reader) string {
	t.Helper()
	f, err := frames.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	return show(f)
}
