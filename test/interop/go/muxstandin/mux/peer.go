package mux

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"storj.io/drpc"
	"storj.io/drpc/drpcmetadata"

	"interop.test/storj/peer"
)

// Peer is the implementation.
var Peer = &peer.Peer{
	Name:        "mux-standin",
	Multiplexes: true,
	Details:     true,
	Conn: func(transport net.Conn, options peer.Options) drpc.Conn {
		return &conn{newConnection(transport, options, nil)}
	},
	Serve: serve,
	Fail:  func(failure peer.Failure) error { return &Status{failure} },
	Read:  Read,
}

// conn is the client end.
type conn struct{ *connection }

var _ drpc.Conn = (*conn)(nil)

func (c *conn) Closed() <-chan struct{} { return c.closed }

// NewStream begins an rpc.
func (c *conn) NewStream(ctx context.Context, rpc string, enc drpc.Encoding) (drpc.Stream, error) {
	return c.open(ctx, rpc)
}

func (c *conn) open(ctx context.Context, rpc string) (*stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var metadata []byte
	if pairs, ok := drpcmetadata.Get(ctx); ok {
		var err error
		if metadata, err = drpcmetadata.Encode(nil, pairs); err != nil {
			return nil, err
		}
	}
	// The stream ends when the cancel has been told to the remote, not before.
	s, err := c.add(context.WithoutCancel(ctx), 0)
	if err != nil {
		return nil, err
	}
	if err := s.writeInvoke(rpc, metadata); err != nil {
		s.terminate(io.EOF, err)
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.sendCancel(ctx.Err()) })
	s.mu.Lock()
	s.onEnd = func() { stop() }
	s.mu.Unlock()
	return s, nil
}

// Invoke makes a unary call.
func (c *conn) Invoke(ctx context.Context, rpc string, enc drpc.Encoding, in, out drpc.Message) (err error) {
	s, err := c.open(ctx, rpc)
	if err != nil {
		return err
	}
	defer func() {
		_ = s.Close()
		// A cancel makes a send answer EOF; the caller is told the cancel.
		if errors.Is(err, io.EOF) && ctx.Err() != nil {
			err = ctx.Err()
		}
	}()
	if err := s.MsgSend(in, enc); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	return s.MsgRecv(out, enc)
}

// serve accepts connections until ctx ends.
func serve(ctx context.Context, lis net.Listener, handler drpc.Handler, options peer.Options, log func(error)) error {
	var mu sync.Mutex
	conns := map[*connection]struct{}{}
	stop := context.AfterFunc(ctx, func() {
		_ = lis.Close()
		mu.Lock()
		open := make([]*connection, 0, len(conns))
		for c := range conns {
			open = append(open, c)
		}
		mu.Unlock()
		for _, c := range open {
			_ = c.Close()
		}
	})
	defer stop()

	for {
		transport, err := lis.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		c := newConnection(transport, options, func(s *stream, rpc string, metadata map[string]string) {
			go handle(s, rpc, handler, log)
		})
		mu.Lock()
		conns[c] = struct{}{}
		mu.Unlock()
		go func() {
			<-c.read
			mu.Lock()
			delete(conns, c)
			mu.Unlock()
			log(c.err)
		}()
	}
}

func handle(s *stream, rpc string, handler drpc.Handler, log func(error)) {
	err := handler.HandleRPC(s, rpc)
	if err != nil {
		err = s.SendError(err)
	} else {
		err = s.CloseSend()
	}
	if err != nil {
		log(err)
	}
}
