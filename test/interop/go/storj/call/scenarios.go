package call

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"storj.io/drpc"
	"storj.io/drpc/drpcpool"

	"interop.test/storj/peer"
	"interop.test/storj/service"
)

// Scenario is one thing a client does, with what it must see.
type Scenario struct {
	Name string
	// serial: only for peers of one stream at a time; multiplexed: only for the others.
	serial, multiplexed bool
	// maxStreams: only when the server is told to refuse.
	maxStreams bool
	// onlyByName: not in all, because not every server survives or refuses it.
	onlyByName bool
	run        func(ctx context.Context, r *Run) error
}

// Scenarios are all scenarios, in the order they run in.
var Scenarios = append([]Scenario{
	{Name: "unary", run: unary},
	{Name: "empty", run: empty},
	{Name: "split", run: size(200_000)},
	{Name: "4mib", run: size(4 << 20)},
	{Name: "too-large", onlyByName: true, run: tooLarge},
	{Name: "server-stream", run: serverStream(10, 0)},
	{Name: "server-stream-none", run: serverStream(0, 0)},
	{Name: "server-stream-large", run: serverStream(20, 100_000)},
	{Name: "client-stream", run: clientStream},
	{Name: "client-stream-none", run: clientStreamNone},
	{Name: "client-stream-large", run: sink},
	{Name: "bidi", run: bidi},
	{Name: "bidi-burst", run: bidiBurst},
	{Name: "early-end", run: earlyEnd(false)},
	{Name: "early-end-unread", onlyByName: true, run: earlyEnd(true)},
	{Name: "nil", run: nilAnswer},
	{Name: "metadata", run: metadata},
	{Name: "error-code", run: errorCode},
	{Name: "error-after-values", run: errorAfterValues},
	{Name: "unknown-rpc", run: unknownRPC},
	{Name: "cancel-before", run: cancelBefore},
	{Name: "cancel-unary", run: cancelUnary},
	{Name: "cancel-server-stream", run: cancelServerStream},
	{Name: "cancel-client-stream", run: cancelClientStream},
	{Name: "cancel-bidi", run: cancelBidi},
	{Name: "cancel-after-end", run: cancelAfterEnd},
	{Name: "deadline", run: deadline},
	{Name: "deadline-stream", run: deadlineStream},
	{Name: "close-early", run: closeEarly(service.CountRequest{DelayMs: 1})},
	{Name: "close-early-large", run: closeEarly(service.CountRequest{Size: 100_000})},
	{Name: "connection-lost", run: connectionLost},
	{Name: "sequential", run: sequential},
	{Name: "queue", run: queue},
	{Name: "pool", serial: true, run: pool},
	{Name: "concurrent", multiplexed: true, run: concurrent},
	{Name: "interleaved", multiplexed: true, run: interleaved},
	{Name: "cancel-isolation", multiplexed: true, run: cancelIsolation},
	{Name: "stalled-reader", multiplexed: true, run: stalledReader},
	{Name: "max-streams", multiplexed: true, maxStreams: true, run: maxStreams},
}, greeterScenarios...)

// Select returns the named scenarios that make sense for the client.
func Select(names string, c *Client) ([]Scenario, error) {
	fits := func(s Scenario) bool {
		return !(s.serial && c.Peer.Multiplexes) && !(s.multiplexed && !c.Peer.Multiplexes) &&
			!(s.maxStreams && c.Options.MaxStreams == 0) && (!s.onlyByName || names == "list")
	}
	var selected []Scenario
	for _, name := range strings.Split(names, ",") {
		found := false
		for _, s := range Scenarios {
			isGreeter := strings.HasPrefix(s.Name, "greeter-")
			switch name {
			case s.Name:
				found = true
				selected = append(selected, s)
			case "all", "list", "raw", "greeter":
				found = true
				if fits(s) && (name != "raw" || !isGreeter) && (name != "greeter" || isGreeter) {
					selected = append(selected, s)
				}
			}
		}
		if !found {
			return nil, fmt.Errorf("no scenario %q; -scenario list prints the names", name)
		}
	}
	return selected, nil
}

func unary(ctx context.Context, r *Run) error {
	return r.same(r.echo(ctx, []byte("hello")))([]byte("hello"))
}

func empty(ctx context.Context, r *Run) error {
	return r.same(r.echo(ctx, nil))(nil)
}

func size(n int) func(context.Context, *Run) error {
	return func(ctx context.Context, r *Run) error {
		data := service.Fill(0, n)
		return r.same(r.echo(ctx, data))(data)
	}
}

// tooLarge demands that a message of one byte more than 4 MiB is refused with code 8.
func tooLarge(ctx context.Context, r *Run) error {
	_, err := r.echo(ctx, service.Fill(0, 4<<20+1))
	if err := r.want(err, "rpc"); err != nil {
		return err
	}
	if *r.Code != 8 {
		return fmt.Errorf("code %d instead of 8", *r.Code)
	}
	return r.usable(ctx)
}

// same demands that a call was answered with the wanted bytes.
func (r *Run) same(got []byte, err error) func(want []byte) error {
	return func(want []byte) error {
		if err != nil {
			r.saw(err)
			return fmt.Errorf("failed: %w", err)
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("answered with %d bytes %.40q instead of %d bytes %.40q", len(got), got, len(want), want)
		}
		return nil
	}
}

func serverStream(n, size int) func(context.Context, *Run) error {
	return func(ctx context.Context, r *Run) error {
		stream, err := r.request(ctx, "Count", service.CountRequest{N: n, Size: size})
		if err != nil {
			return err
		}
		defer func() { _ = stream.Close() }()
		for k := range n {
			if err := wantNumbered(stream, k, size); err != nil {
				r.saw(err)
				return err
			}
		}
		if err := stream.End(); err != nil {
			return err
		}
		return r.usable(ctx)
	}
}

// request opens a stream with one message, in JSON.
func (r *Run) request(ctx context.Context, method string, value any) (*Stream, error) {
	stream, err := r.open(ctx, method)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(data); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	if err := stream.CloseSend(); err != nil {
		return nil, fmt.Errorf("close send: %w", err)
	}
	return stream, nil
}

func wantNumbered(stream *Stream, k, size int) error {
	want := strconv.AppendInt(nil, int64(k), 10)
	if size > 0 {
		want = service.Fill(k, size)
	}
	got, err := stream.Recv()
	if err != nil {
		return fmt.Errorf("message %d: %w", k, err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("message %d is %.40q instead of %.40q", k, got, want)
	}
	return nil
}

func clientStream(ctx context.Context, r *Run) error {
	stream, err := r.open(ctx, "Sum")
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	for k := 1; k <= 100; k++ {
		if err := stream.Send(strconv.AppendInt(nil, int64(k), 10)); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return r.answer(ctx, stream, "5050")
}

func clientStreamNone(ctx context.Context, r *Run) error {
	stream, err := r.open(ctx, "Sum")
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	return r.answer(ctx, stream, "0")
}

// answer half-closes and demands one answer and the end.
func (r *Run) answer(ctx context.Context, stream *Stream, want string) error {
	if err := stream.CloseSend(); err != nil {
		return fmt.Errorf("close send: %w", err)
	}
	if err := r.same(stream.Recv())([]byte(want)); err != nil {
		return err
	}
	if err := stream.End(); err != nil {
		return err
	}
	return r.usable(ctx)
}

func sink(ctx context.Context, r *Run) error {
	stream, err := r.open(ctx, "Sink")
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	digest := sha256.New()
	const messages, size = 50, 100_000
	for k := range messages {
		data := service.Fill(k, size)
		_, _ = digest.Write(data)
		if err := stream.Send(data); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	want, err := json.Marshal(service.SinkReply{
		Messages: messages, Bytes: messages * size, SHA256: hex.EncodeToString(digest.Sum(nil)),
	})
	if err != nil {
		return err
	}
	return r.answer(ctx, stream, string(want))
}

func bidi(ctx context.Context, r *Run) error {
	stream, err := r.open(ctx, "Chat")
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	for k := range 10 {
		if err := pingPong(stream, fmt.Appendf(nil, "message %d", k)); err != nil {
			r.saw(err)
			return err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return fmt.Errorf("close send: %w", err)
	}
	if err := stream.End(); err != nil {
		return err
	}
	return r.usable(ctx)
}

// pingPong sends a message and demands it back.
func pingPong(stream *Stream, data []byte) error {
	if err := stream.Send(data); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	got, err := stream.Recv()
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if !bytes.Equal(got, data) {
		return fmt.Errorf("got %.40q back for %.40q", got, data)
	}
	return nil
}

func bidiBurst(ctx context.Context, r *Run) error {
	stream, err := r.open(ctx, "Chat")
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	const n = 200
	sent := make(chan error, 1)
	go func() {
		for k := range n {
			if err := stream.Send(service.Fill(k, 1000+k)); err != nil {
				sent <- fmt.Errorf("send %d: %w", k, err)
				return
			}
		}
		sent <- stream.CloseSend()
	}()
	for k := range n {
		if err := wantNumbered(stream, k, 1000+k); err != nil {
			return err
		}
	}
	if err := <-sent; err != nil {
		return err
	}
	return stream.End()
}

// earlyEnd calls a handler that ends without reading; unread says whether there is something to read.
func earlyEnd(unread bool) func(context.Context, *Run) error {
	return func(ctx context.Context, r *Run) error {
		stream, err := r.open(ctx, "Early")
		if err != nil {
			return err
		}
		if unread {
			if err := stream.Send([]byte("one")); err != nil {
				return fmt.Errorf("send: %w", err)
			}
		}
		if err := r.same(stream.Recv())([]byte("early")); err != nil {
			return err
		}
		if err := stream.End(); err != nil {
			return err
		}
		if err := stream.Close(); err != nil {
			return fmt.Errorf("close: %w", err)
		}
		return r.usable(ctx)
	}
}

func nilAnswer(ctx context.Context, r *Run) error {
	_, err := r.invoke(ctx, service.Prefix+"Nil", nil)
	r.saw(err)
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("instead of the end: %v", err)
	}
	return r.usable(ctx)
}

func metadata(ctx context.Context, r *Run) error {
	want := map[string]string{"key": "value", "unicode": "grüße", "empty": "", "x-long": strings.Repeat("v", 1000)}
	maps.Copy(want, r.Metadata)
	data, err := r.invoke(r.Peer.WithMetadata(context.WithoutCancel(ctx), want), service.Prefix+"EchoMeta", nil)
	if err != nil {
		r.saw(err)
		return fmt.Errorf("failed: %w", err)
	}
	var got map[string]string
	if err := json.Unmarshal(data, &got); err != nil {
		return err
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("got %v back for %v", got, want)
	}
	return nil
}

func errorCode(ctx context.Context, r *Run) error {
	want := peer.Failure{Code: 5, Message: "no such thing: ünïcode", Details: []peer.Detail{ErrorInfo}}
	request, err := json.Marshal(want)
	if err != nil {
		return err
	}
	_, err = r.invoke(ctx, service.Prefix+"Fail", request)
	r.saw(err)
	if err := r.wantFailure(err, want); err != nil {
		return err
	}
	return r.usable(ctx)
}

// ErrorInfo is a google.rpc.ErrorInfo {reason: "TEST", domain: "interop.test", metadata: {"k": "v"}}.
var ErrorInfo = peer.Detail{
	TypeURL: "type.googleapis.com/google.rpc.ErrorInfo",
	Value:   []byte("\x0a\x04TEST\x12\x0cinterop.test\x1a\x06\x0a\x01k\x12\x01v"),
}

func (r *Run) wantFailure(err error, want peer.Failure) error {
	if err == nil {
		return errors.New("ended well instead of failing")
	}
	got := r.Peer.Read(err)
	if got.Code != want.Code || got.Message != want.Message {
		return fmt.Errorf("failed with code %d, %q instead of %d, %q", got.Code, got.Message, want.Code, want.Message)
	}
	same := func(a, b peer.Detail) bool { return a.TypeURL == b.TypeURL && bytes.Equal(a.Value, b.Value) }
	if r.Peer.Details && !slices.EqualFunc(got.Details, want.Details, same) {
		return fmt.Errorf("failed with details %v instead of %v", got.Details, want.Details)
	}
	return nil
}

func errorAfterValues(ctx context.Context, r *Run) error {
	want := peer.Failure{Code: 9, Message: "after three"}
	stream, err := r.request(ctx, "FailAfter", service.FailAfterRequest{N: 3, Failure: want})
	if err != nil {
		return err
	}
	for k := range 3 {
		if err := wantNumbered(stream, k, 0); err != nil {
			return err
		}
	}
	_, err = stream.Recv()
	r.saw(err)
	if err := r.wantFailure(err, want); err != nil {
		return err
	}
	return r.usable(ctx)
}

func unknownRPC(ctx context.Context, r *Run) error {
	_, err := r.invoke(ctx, service.Prefix+"Missing", []byte("hello"))
	r.saw(err)
	if err == nil {
		return errors.New("an rpc that does not exist was answered")
	}
	if r.Class != "rpc" {
		return fmt.Errorf("not an rpc error: %w", err)
	}
	if r.ExpectUnknown != 0 && *r.Code != r.ExpectUnknown {
		return fmt.Errorf("code %d instead of %d", *r.Code, r.ExpectUnknown)
	}
	return r.usable(ctx)
}

func cancelBefore(ctx context.Context, r *Run) error {
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, err := r.echo(canceled, nil)
	if err := r.want(err, canceledClass); err != nil {
		return err
	}
	return r.usable(ctx)
}

func cancelUnary(ctx context.Context, r *Run) error {
	canceled, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := r.invoke(canceled, service.Prefix+"Hang", []byte("hello"))
		done <- err
	}()
	if err := r.Ready(ctx, r.Scenario); err != nil {
		return err
	}
	cancel()
	err := <-done
	if err := r.want(err, canceledClass); err != nil {
		return err
	}
	return r.afterCancel(ctx)
}

func cancelServerStream(ctx context.Context, r *Run) error {
	canceled, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.request(canceled, "Endless", service.CountRequest{})
	if err != nil {
		return err
	}
	for k := range 3 {
		if err := wantNumbered(stream, k, 0); err != nil {
			return err
		}
	}
	if err := r.Ready(ctx, r.Scenario); err != nil {
		return err
	}
	cancel()
	if err := r.wantEnd(stream, canceledClass); err != nil {
		return err
	}
	return r.afterCancel(ctx)
}

// wantEnd receives what is left and demands that the stream then ends with an error of the class.
func (r *Run) wantEnd(stream *Stream, class string) error {
	for left := 0; ; left++ {
		if _, err := stream.Recv(); err != nil {
			r.note("left", left)
			return r.want(err, class)
		}
	}
}

func cancelClientStream(ctx context.Context, r *Run) error {
	canceled, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.open(canceled, "Sink")
	if err != nil {
		return err
	}
	for range 3 {
		if err := stream.Send([]byte("message")); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	if err := r.Ready(ctx, r.Scenario); err != nil {
		return err
	}
	cancel()
	if err := r.wantSendEOF(ctx, stream); err != nil {
		return err
	}
	if err := r.wantEnd(stream, canceledClass); err != nil {
		return err
	}
	return r.afterCancel(ctx)
}

// wantSendEOF demands that a terminated stream takes no more messages: send answers EOF, the reason is
// told by receive.
func (r *Run) wantSendEOF(ctx context.Context, stream *Stream) error {
	select {
	case <-stream.Context().Done():
	case <-ctx.Done():
		return errors.New("the stream did not end")
	}
	err := stream.Send([]byte("too late"))
	if err != nil {
		r.note("send", err.Error())
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("send after the cancel answered %v instead of EOF", err)
	}
	return nil
}

func cancelBidi(ctx context.Context, r *Run) error {
	canceled, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.open(canceled, "Chat")
	if err != nil {
		return err
	}
	if err := pingPong(stream, []byte("hello")); err != nil {
		return err
	}
	if err := r.Ready(ctx, r.Scenario); err != nil {
		return err
	}
	cancel()
	if err := r.wantSendEOF(ctx, stream); err != nil {
		return err
	}
	if err := r.wantEnd(stream, canceledClass); err != nil {
		return err
	}
	return r.afterCancel(ctx)
}

// cancelAfterEnd cancels a call that has ended: the connection must not suffer.
func cancelAfterEnd(ctx context.Context, r *Run) error {
	canceled, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := r.same(r.echo(canceled, []byte("hello")))([]byte("hello")); err != nil {
		return err
	}
	cancel()
	return r.usable(ctx)
}

func deadline(ctx context.Context, r *Run) error {
	short, cancel := context.WithTimeout(ctx, 150*time.Millisecond)
	defer cancel()
	_, err := r.invoke(short, service.Prefix+"Hang", nil)
	if err := r.want(err, deadlineClass); err != nil {
		return err
	}
	return r.afterCancel(ctx)
}

func deadlineStream(ctx context.Context, r *Run) error {
	short, cancel := context.WithTimeout(ctx, 150*time.Millisecond)
	defer cancel()
	stream, err := r.request(short, "Endless", service.CountRequest{DelayMs: 10})
	if err != nil {
		return err
	}
	if err := r.wantEnd(stream, deadlineClass); err != nil {
		return err
	}
	return r.afterCancel(ctx)
}

// closeEarly closes a server stream after a few values: the server's handler is told, the connection lives.
func closeEarly(request service.CountRequest) func(context.Context, *Run) error {
	return func(ctx context.Context, r *Run) error {
		stream, err := r.request(ctx, "Endless", request)
		if err != nil {
			return err
		}
		for k := range 3 {
			if err := wantNumbered(stream, k, request.Size); err != nil {
				return err
			}
		}
		if err := stream.Close(); err != nil {
			return fmt.Errorf("close: %w", err)
		}
		return r.usable(ctx)
	}
}

func connectionLost(ctx context.Context, r *Run) error {
	stream, err := r.open(ctx, "Drop")
	if err != nil {
		return err
	}
	if err := stream.Send([]byte(`{"n":2}`)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	for k := range 2 {
		if err := wantNumbered(stream, k, 0); err != nil {
			return err
		}
	}
	if err := stream.Send([]byte("now")); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	_, err = stream.Recv()
	r.saw(err)
	if err == nil {
		return errors.New("a message out of nowhere")
	}
	if errors.Is(err, io.EOF) {
		return errors.New("a lost connection looks like the end of the stream")
	}
	return r.closed(ctx)
}

func sequential(ctx context.Context, r *Run) error {
	for k := range 1000 {
		data := strconv.AppendInt(nil, int64(k), 10)
		if err := r.same(r.echo(ctx, data))(data); err != nil {
			return fmt.Errorf("call %d: %w", k, err)
		}
	}
	return nil
}

// queue makes a hundred calls at once on one connection: one after another where it carries one stream.
func queue(ctx context.Context, r *Run) error {
	return r.all(100, func(k int) error {
		data := strconv.AppendInt(nil, int64(k), 10)
		got, err := r.echo(ctx, data)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, data) {
			return fmt.Errorf("answered with %q instead of %q", got, data)
		}
		return nil
	})
}

// all runs f n times at once.
func (r *Run) all(n int, f func(k int) error) error {
	failures := make([]error, n)
	var group sync.WaitGroup
	for k := range n {
		group.Go(func() {
			if err := f(k); err != nil {
				failures[k] = fmt.Errorf("call %d: %w", k, err)
			}
		})
	}
	group.Wait()
	count := 0
	var first error
	for _, err := range failures {
		if err != nil {
			count++
			if first == nil {
				first = err
			}
		}
	}
	if count > 0 {
		r.note("failed", count)
	}
	return first
}

// pool makes a hundred calls at once through drpcpool.
func pool(ctx context.Context, r *Run) error {
	connections := drpcpool.New[string, drpcpool.Conn](drpcpool.Options{Capacity: 10, Expiration: time.Minute})
	defer func() { _ = connections.Close() }()
	var mu sync.Mutex
	dialed := 0
	conn := connections.Get(ctx, "server", func(ctx context.Context, _ string) (drpcpool.Conn, error) {
		mu.Lock()
		dialed++
		mu.Unlock()
		dialed, err := r.Dial(ctx)
		if err != nil {
			return nil, err
		}
		return dialed.(drpcpool.Conn), nil
	})
	defer func() { _ = conn.Close() }()
	err := r.all(100, func(k int) error {
		data := strconv.AppendInt(nil, int64(k), 10)
		got, err := Invoke(ctx, conn, service.Prefix+"Echo", data)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, data) {
			return fmt.Errorf("answered with %q instead of %q", got, data)
		}
		return nil
	})
	r.note("dialed", dialed)
	return err
}

// concurrent keeps a thousand streams open at once on one connection, each of which must answer while
// all others are open, and then makes a thousand unary calls at once.
func concurrent(ctx context.Context, r *Run) error {
	const n = 1000
	streams := make([]*Stream, n)
	for k := range streams {
		stream, err := r.open(ctx, "Chat")
		if err != nil {
			return err
		}
		streams[k] = stream
	}
	if err := r.all(n, func(k int) error {
		return pingPong(streams[k], fmt.Appendf(nil, "stream %d", k))
	}); err != nil {
		return err
	}
	if err := r.all(n, func(k int) error {
		if err := streams[k].CloseSend(); err != nil {
			return err
		}
		return streams[k].End()
	}); err != nil {
		return err
	}
	return r.all(n, func(k int) error {
		data := fmt.Appendf(nil, "call %d", k)
		got, err := r.echo(ctx, data)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, data) {
			return fmt.Errorf("answered with %q", got)
		}
		return nil
	})
}

// interleaved sends messages of many frames on several streams at once.
func interleaved(ctx context.Context, r *Run) error {
	return r.all(8, func(k int) error {
		stream, err := r.open(ctx, "Chat")
		if err != nil {
			return err
		}
		defer func() { _ = stream.Close() }()
		for round := range 3 {
			if err := pingPong(stream, service.Fill(k*7+round, 1<<20+k)); err != nil {
				return err
			}
		}
		if err := stream.CloseSend(); err != nil {
			return err
		}
		return stream.End()
	})
}

// cancelIsolation cancels one stream between two others that go on.
func cancelIsolation(ctx context.Context, r *Run) error {
	canceled, cancel := context.WithCancel(ctx)
	defer cancel()
	contexts := []context.Context{ctx, canceled, ctx}
	streams := make([]*Stream, len(contexts))
	for k, streamCtx := range contexts {
		stream, err := r.open(streamCtx, "Chat")
		if err != nil {
			return err
		}
		streams[k] = stream
		if err := pingPong(stream, []byte("before")); err != nil {
			return err
		}
	}
	if err := r.Ready(ctx, r.Scenario); err != nil {
		return err
	}
	cancel()
	if err := r.wantEnd(streams[1], canceledClass); err != nil {
		return err
	}
	for _, k := range []int{0, 2} {
		if err := pingPong(streams[k], []byte("after")); err != nil {
			return fmt.Errorf("stream %d: %w", k, err)
		}
		if err := streams[k].CloseSend(); err != nil {
			return err
		}
		if err := streams[k].End(); err != nil {
			return err
		}
	}
	return r.usable(ctx)
}

// stalledReader leaves a stream unread, in a measure that every peer holds back (100 messages), while
// other calls go on.
func stalledReader(ctx context.Context, r *Run) error {
	stream, err := r.request(ctx, "Count", service.CountRequest{N: 100, Size: 1000})
	if err != nil {
		return err
	}
	for k := range 20 {
		data := strconv.AppendInt(nil, int64(k), 10)
		if err := r.same(r.echo(ctx, data))(data); err != nil {
			return err
		}
	}
	for k := range 100 {
		if err := wantNumbered(stream, k, 1000); err != nil {
			return err
		}
	}
	return stream.End()
}

// maxStreams fills the server's limit, demands that one more stream is refused, and that there is room
// again when one has ended.
func maxStreams(ctx context.Context, r *Run) error {
	streams := make([]*Stream, r.Options.MaxStreams)
	for k := range streams {
		stream, err := r.open(ctx, "Chat")
		if err != nil {
			return err
		}
		if err := pingPong(stream, []byte("hello")); err != nil {
			return err
		}
		streams[k] = stream
	}
	_, err := r.echo(ctx, []byte("one too many"))
	r.saw(err)
	if err == nil {
		return errors.New("one stream too many was not refused")
	}
	if r.Class != "rpc" {
		return fmt.Errorf("not an rpc error: %w", err)
	}
	if r.ExpectRefused != 0 && *r.Code != r.ExpectRefused {
		return fmt.Errorf("code %d instead of %d", *r.Code, r.ExpectRefused)
	}
	for k, stream := range streams {
		if err := pingPong(stream, []byte("still here")); err != nil {
			return fmt.Errorf("stream %d: %w", k, err)
		}
	}
	if err := streams[0].CloseSend(); err != nil {
		return err
	}
	if err := streams[0].End(); err != nil {
		return err
	}
	// The server forgets the stream a moment after its last frame.
	for {
		_, err := r.echo(ctx, []byte("again"))
		if err == nil {
			return nil
		}
		if waitErr := pause(ctx, 5*time.Millisecond); waitErr != nil {
			return fmt.Errorf("no room again: %w", err)
		}
	}
}

var _ drpc.Stream = (*Stream)(nil)
