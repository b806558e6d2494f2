// Package service holds the handlers of the interop tests. README.md, one folder up from the module,
// is the contract of each.
package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"time"

	"storj.io/drpc"
	"storj.io/drpc/drpcctx"
	"storj.io/drpc/drpcmetadata"

	"interop.test/storj/peer"
)

// CountRequest asks for N messages of Size bytes, or of the message's number as text when Size is 0.
type CountRequest struct {
	N       int `json:"n"`
	Size    int `json:"size"`
	DelayMs int `json:"delayMs"`
}

// FailAfterRequest asks for N messages and then for the failure.
type FailAfterRequest struct {
	N int `json:"n"`
	peer.Failure
}

// SlowRequest asks for Value after DelayMs.
type SlowRequest struct {
	DelayMs int             `json:"delayMs"`
	Value   json.RawMessage `json:"value"`
}

// SinkReply says what Sink has read.
type SinkReply struct {
	Messages int    `json:"messages"`
	Bytes    int    `json:"bytes"`
	SHA256   string `json:"sha256"`
}

type interop struct{ peer *peer.Peer }

func (i *interop) Echo(ctx context.Context, in *Raw) (*Raw, error) { return in, nil }

func (i *interop) EchoMeta(ctx context.Context, in *Raw) (*Raw, error) {
	metadata, ok := drpcmetadata.Get(ctx)
	if !ok {
		metadata = map[string]string{}
	}
	return marshal(metadata)
}

func (i *interop) Count(in *Raw, stream drpc.Stream) error {
	var request CountRequest
	if err := unmarshal(in, &request); err != nil {
		return err
	}
	return count(stream, request, request.N)
}

func (i *interop) Endless(in *Raw, stream drpc.Stream) error {
	var request CountRequest
	if err := unmarshal(in, &request); err != nil {
		return err
	}
	return count(stream, request, -1)
}

func (i *interop) Sum(stream drpc.Stream) error {
	var sum float64
	for {
		var raw Raw
		err := stream.MsgRecv(&raw, Encoding{})
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		var number float64
		if err := unmarshal(&raw, &number); err != nil {
			return err
		}
		sum += number
	}
	return send(stream, sum)
}

func (i *interop) Chat(stream drpc.Stream) error {
	for {
		var raw Raw
		err := stream.MsgRecv(&raw, Encoding{})
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.MsgSend(&raw, Encoding{}); err != nil {
			return err
		}
	}
}

func (i *interop) Fail(ctx context.Context, in *Raw) (*Raw, error) {
	var failure peer.Failure
	if err := unmarshal(in, &failure); err != nil {
		return nil, err
	}
	return nil, i.peer.Fail(failure)
}

func (i *interop) FailAfter(in *Raw, stream drpc.Stream) error {
	var request FailAfterRequest
	if err := unmarshal(in, &request); err != nil {
		return err
	}
	if err := count(stream, CountRequest{}, request.N); err != nil {
		return err
	}
	return i.peer.Fail(request.Failure)
}

func (i *interop) Slow(ctx context.Context, in *Raw) (*Raw, error) {
	var request SlowRequest
	if err := unmarshal(in, &request); err != nil {
		return nil, err
	}
	if err := wait(ctx, request.DelayMs); err != nil {
		return nil, err
	}
	return &Raw{Data: request.Value}, nil
}

func (i *interop) Hang(ctx context.Context, in *Raw) (*Raw, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (i *interop) Sink(stream drpc.Stream) error {
	metadata, _ := drpcmetadata.Get(stream.Context())
	delay, _ := strconv.Atoi(metadata["sink-delay-ms"])
	limit, err := strconv.Atoi(metadata["sink-limit"])
	if err != nil {
		limit = -1
	}

	var reply SinkReply
	digest := sha256.New()
	for reply.Messages != limit {
		var raw Raw
		err := stream.MsgRecv(&raw, Encoding{})
		if errors.Is(err, io.EOF) {
			reply.SHA256 = hex.EncodeToString(digest.Sum(nil))
			return send(stream, reply)
		}
		if err != nil {
			return err
		}
		reply.Messages++
		reply.Bytes += len(raw.Data)
		_, _ = digest.Write(raw.Data)
		if err := wait(stream.Context(), delay); err != nil {
			return err
		}
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

func (i *interop) Nil(ctx context.Context, in *Raw) (*Raw, error) { return nil, nil }

func (i *interop) Early(stream drpc.Stream) error {
	return stream.MsgSend(&Raw{Data: []byte("early")}, Encoding{})
}

func (i *interop) Drop(stream drpc.Stream) error {
	var raw Raw
	if err := stream.MsgRecv(&raw, Encoding{}); err != nil {
		return err
	}
	var request CountRequest
	if err := unmarshal(&raw, &request); err != nil {
		return err
	}
	if err := count(stream, request, request.N); err != nil {
		return err
	}
	// Not before the client says so: what is still on its way would be lost.
	if err := stream.MsgRecv(&raw, Encoding{}); err != nil {
		return err
	}
	transport, ok := drpcctx.Transport(stream.Context())
	if !ok {
		return errors.New("no transport in the context")
	}
	return transport.Close()
}

// count sends n messages, or messages without end when n is negative.
func count(stream drpc.Stream, request CountRequest, n int) error {
	for k := 0; k != n; k++ {
		raw := Raw{Data: strconv.AppendInt(nil, int64(k), 10)}
		if request.Size > 0 {
			raw.Data = Fill(k, request.Size)
		}
		if err := stream.MsgSend(&raw, Encoding{}); err != nil {
			return err
		}
		if err := wait(stream.Context(), request.DelayMs); err != nil {
			return err
		}
	}
	return nil
}

func wait(ctx context.Context, ms int) error {
	if ms <= 0 {
		return nil
	}
	timer := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func marshal(value any) (*Raw, error) {
	data, err := json.Marshal(value)
	return &Raw{Data: data}, err
}

// unmarshal reads JSON; no bytes at all leave the value as it is.
func unmarshal(raw *Raw, value any) error {
	if len(raw.Data) == 0 {
		return nil
	}
	return json.Unmarshal(raw.Data, value)
}

func send(stream drpc.Stream, value any) error {
	raw, err := marshal(value)
	if err != nil {
		return err
	}
	return stream.MsgSend(raw, Encoding{})
}
