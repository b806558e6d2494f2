package mux

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"storj.io/drpc"
	"storj.io/drpc/drpcctx"
	"storj.io/drpc/drpcmetadata"
	"storj.io/drpc/drpcwire"

	"interop.test/storj/peer"
)

const (
	kindWindowUpdate drpcwire.Kind = 8

	queueSlots         = 256
	defaultMaximumRead = 4 << 20
	defaultWriterMax   = 1 << 20
)

// connection is one end of a connection.
type connection struct {
	transport net.Conn
	options   peer.Options
	flow      *flow
	split     int
	writer    *writer
	// accept gets the streams that the remote begins; nil on a client.
	accept func(s *stream, rpc string, metadata map[string]string)

	mu      sync.Mutex
	streams map[uint64]*stream
	lastID  uint64
	err     error
	closed  chan struct{}
	read    chan struct{} // closed when the reader has ended

	pending map[uint64]*pendingInvoke // only the reader touches it
}

// pendingInvoke is a stream whose Invoke has not arrived in full.
type pendingInvoke struct {
	part     partial
	metadata map[string]string
}

func newConnection(transport net.Conn, options peer.Options, accept func(*stream, string, map[string]string)) *connection {
	c := &connection{
		transport: transport, options: options, flow: newFlow(options), split: options.SplitSize, accept: accept,
		streams: map[uint64]*stream{}, closed: make(chan struct{}), read: make(chan struct{}),
		pending: map[uint64]*pendingInvoke{},
	}
	if c.flow != nil && c.split <= 0 {
		c.split = defaultSplitSize
	}
	size := options.WriterBuffer
	if size == 0 {
		size = defaultWriterMax
	}
	c.writer = newWriter(transport, size, func(err error) { c.terminate(drpc.ClosedError.Wrap(err)) })
	go c.readFrames()
	return c
}

// terminate ends the connection and all its streams. The first error wins.
func (c *connection) terminate(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	close(c.closed)
	streams := make([]*stream, 0, len(c.streams))
	for _, s := range c.streams {
		streams = append(streams, s)
	}
	c.mu.Unlock()

	c.writer.stop(err)
	_ = c.transport.Close()
	cause := err
	if c.accept != nil {
		cause = context.Canceled
	}
	for _, s := range streams {
		s.terminate(io.EOF, cause)
	}
}

// Close ends the connection.
func (c *connection) Close() error {
	c.terminate(status(codeUnavailable, "closed: manager closed: Close called"))
	<-c.read
	return nil
}

// add registers a stream; id 0 means the next one.
func (c *connection) add(ctx context.Context, id uint64) (*stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	if id == 0 {
		c.lastID++
		id = c.lastID
	}
	s := newStream(ctx, c, id)
	c.streams[id] = s
	return s, nil
}

func (c *connection) forget(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, s.id)
}

func (c *connection) find(id uint64) (s *stream, count int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams[id], len(c.streams)
}

// readFrames reads until the connection ends.
func (c *connection) readFrames() {
	defer close(c.read)
	limit := c.options.MaximumBuffer
	if limit == 0 {
		limit = defaultMaximumRead
	}
	var unread []byte
	chunk := make([]byte, 64<<10)
	for {
		rest, frame, ok, err := drpcwire.ParseFrame(unread)
		if err == nil && !ok && len(unread) > limit+64 {
			err = errors.New("data overflow")
		}
		if err != nil {
			c.terminate(drpc.ProtocolError.Wrap(err))
			return
		}
		if ok {
			if err := c.handle(frame); err != nil {
				c.terminate(err)
				return
			}
			unread = rest
			continue
		}
		n, err := c.transport.Read(chunk)
		if err != nil {
			c.terminate(status(codeUnavailable, "closed: %v", err))
			return
		}
		unread = append(append([]byte(nil), unread...), chunk[:n]...)
	}
}

// handle takes a frame. An error is one of the connection.
func (c *connection) handle(frame drpcwire.Frame) error {
	s, count := c.find(frame.ID.Stream)
	if frame.Kind == kindWindowUpdate {
		_, delta, ok, err := drpcwire.ReadVarint(frame.Data)
		if s != nil && frame.Control && frame.Done && ok && err == nil && delta > 0 {
			s.window.grant(delta)
		}
		return nil
	}
	if s != nil {
		limit := 0
		if c.flow != nil {
			limit = c.flow.message
		}
		packet, ok, err := s.part.add(frame, limit)
		if errors.Is(err, errMessageSize) {
			c.refuseMessage(s, limit)
			return nil
		}
		if err != nil || !ok {
			return err
		}
		return s.handle(packet)
	}

	if frame.Kind != drpcwire.KindInvoke && frame.Kind != drpcwire.KindInvokeMetadata {
		return nil
	}
	if c.accept == nil {
		return drpc.ProtocolError.New("invoke at a client")
	}
	invoke := c.pending[frame.ID.Stream]
	if invoke == nil {
		invoke = &pendingInvoke{}
		c.pending[frame.ID.Stream] = invoke
	}
	packet, ok, err := invoke.part.add(frame, 0)
	if err != nil || !ok {
		return err
	}
	if packet.Kind == drpcwire.KindInvokeMetadata {
		invoke.metadata, err = drpcmetadata.Decode(packet.Data)
		return err
	}
	delete(c.pending, frame.ID.Stream)
	if c.options.MaxStreams > 0 && count >= c.options.MaxStreams {
		refusal := status(codeUnknown, "too many concurrent streams: refused: at most %d concurrent streams", c.options.MaxStreams)
		_, _ = c.writer.write(nil, new(atomic.Bool), drpcwire.Frame{
			Kind: drpcwire.KindError, ID: drpcwire.ID{Stream: frame.ID.Stream, Message: 1}, Done: true, Data: MarshalError(refusal),
		})
		return nil
	}
	ctx := drpcctx.WithTransport(context.Background(), c.transport)
	if len(invoke.metadata) > 0 {
		ctx = drpcmetadata.AddPairs(ctx, invoke.metadata)
	}
	s, err = c.add(ctx, frame.ID.Stream)
	if err != nil {
		return err
	}
	s.part.next = invoke.part.next
	c.accept(s, string(packet.Data), invoke.metadata)
	return nil
}

// refuseMessage ends a stream whose message is too large.
func (c *connection) refuseMessage(s *stream, limit int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.terminated {
		return
	}
	err := messageSizeError(limit)
	frame := s.frameLocked(drpcwire.KindError)
	frame.Done, frame.Control, frame.Data = true, true, MarshalError(err)
	_, _ = c.writer.write(nil, &s.ended, frame)
	s.ended.Store(true)
	s.terminateLocked(io.EOF, err)
}
