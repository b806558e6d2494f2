// Package serve is the server program: flags, listener, events.
package serve

import (
	"bufio"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"storj.io/drpc"
	"storj.io/drpc/drpcctx"
	"storj.io/drpc/drpcmetadata"
	"storj.io/drpc/drpcmigrate"
	"storj.io/drpc/drpcmux"

	"interop.test/storj/event"
	"interop.test/storj/peer"
	"interop.test/storj/service"
)

// Main runs the server program for the peer and returns the exit code.
func Main(p *peer.Peer, args []string, in io.Reader, out io.Writer) int {
	flags := flag.NewFlagSet(p.Name+"-server", flag.ContinueOnError)
	network := flags.String("network", "tcp", "tcp or unix")
	addr := flags.String("addr", "127.0.0.1:0", "address to listen on, or a path for unix")
	preamble := flags.Bool("preamble", false, "accept connections that begin with DRPC!!!1 (and those that do not)")
	beforeTLS := flags.Bool("preamble-before-tls", false, "accept only connections that begin with DRPC!!!1 and then TLS")
	cert := flags.String("tls-cert", "", "PEM file of the certificate; with -tls-key speaks TLS")
	key := flags.String("tls-key", "", "PEM file of the key")
	quiet := flags.Bool("quiet", false, "no events")
	stdin := flags.Bool("stdin", true, "take commands from stdin and exit at its end")
	options := Flags(flags)
	if err := flags.Parse(args); err != nil {
		return 2
	}

	listener, err := net.Listen(*network, *addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if *cert != "" {
		certificate, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		config := &tls.Config{Certificates: []tls.Certificate{certificate}}
		if *beforeTLS {
			routes := drpcmigrate.NewListenMux(listener, len(drpcmigrate.DRPCHeader))
			listener = routes.Route(drpcmigrate.DRPCHeader)
			go func() { _ = routes.Run(context.Background()) }()
		}
		listener = tls.NewListener(listener, config)
	}
	_, _ = fmt.Fprintf(out, "LISTEN %s\n", listener.Addr())

	log := event.New(out)
	if *quiet {
		log = event.New(io.Discard)
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tracked := &Listener{Listener: listener, Log: log}
	if *stdin {
		go func() {
			tracked.commands(in)
			cancel()
		}()
	}
	if err := Serve(ctx, p, tracked, *preamble, *options, log); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Serve serves all handlers on the listener until ctx ends.
func Serve(ctx context.Context, p *peer.Peer, lis net.Listener, preamble bool, options peer.Options, log *event.Log) error {
	mux := drpcmux.New()
	if err := service.Register(mux, p); err != nil {
		return err
	}
	handler := &handler{next: mux, peer: p, log: log}
	report := func(err error) { log.Write(event.Event{Event: "error", Error: err.Error()}) }

	if !preamble {
		return p.Serve(ctx, lis, handler, options, report)
	}
	routes := drpcmigrate.NewListenMux(lis, len(drpcmigrate.DRPCHeader))
	go func() { _ = p.Serve(ctx, routes.Route(drpcmigrate.DRPCHeader), handler, options, report) }()
	go func() { _ = p.Serve(ctx, routes.Default(), handler, options, report) }()
	return routes.Run(ctx)
}

// Flags declares the flags of peer.Options.
func Flags(flags *flag.FlagSet) *peer.Options {
	var o peer.Options
	flags.IntVar(&o.MaximumBuffer, "max-buffer", 0, "largest frame and message that is read, in bytes (0: the default)")
	flags.IntVar(&o.SplitSize, "split", 0, "largest frame that is written, in bytes (0: the default, negative: never split)")
	flags.IntVar(&o.WriterBuffer, "writer-buffer", 0, "size of the write buffer, in bytes (0: the default)")
	flags.BoolVar(&o.SoftCancel, "soft-cancel", false, "a canceled call sends Cancel instead of closing the connection")
	flags.DurationVar(&o.InactivityTimeout, "inactivity", 0, "how long a server waits for the next rpc (0: for ever)")
	flags.IntVar(&o.MaxStreams, "max-streams", 0, "streams a server runs at once on a connection (0: no limit)")
	flags.BoolVar(&o.FlowControl, "flow-control", false, "per-stream windows in both directions")
	flags.IntVar(&o.StreamWindow, "window", 0, "initial send credit of a stream, in bytes (0: the default)")
	flags.IntVar(&o.MaxMessage, "max-message", 0, "largest message with flow control, in bytes (0: the default)")
	flags.StringVar(&o.Compression, "compression", "", "how a client compresses its messages and wants the answers")
	return &o
}

// Listener numbers the connections, tells of their opening and closing, and can drop them all.
type Listener struct {
	net.Listener
	Log *event.Log

	mu    sync.Mutex
	last  uint64
	conns map[*trackedConn]struct{}
}

type trackedConn struct {
	net.Conn
	id       uint64
	listener *Listener
	once     sync.Once
}

// Accept waits for the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	if l.conns == nil {
		l.conns = make(map[*trackedConn]struct{})
	}
	l.last++
	tracked := &trackedConn{Conn: conn, id: l.last, listener: l}
	l.conns[tracked] = struct{}{}
	l.mu.Unlock()
	l.Log.Write(event.Event{Event: "open", Conn: tracked.id, Remote: conn.RemoteAddr().String()})
	return tracked, nil
}

// Close closes the connection and tells of it once.
func (c *trackedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.listener.mu.Lock()
		delete(c.listener.conns, c)
		c.listener.mu.Unlock()
		c.listener.Log.Write(event.Event{Event: "close", Conn: c.id})
	})
	return err
}

// Drop closes every connection.
func (l *Listener) Drop() {
	l.mu.Lock()
	conns := make([]*trackedConn, 0, len(l.conns))
	for conn := range l.conns {
		conns = append(conns, conn)
	}
	l.mu.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// commands obeys the lines of in until it ends.
func (l *Listener) commands(in io.Reader) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		switch lines.Text() {
		case "drop":
			l.Drop()
		case "quit":
			return
		}
	}
}

// handler tells when each rpc starts, is canceled and ends.
type handler struct {
	next drpc.Handler
	peer *peer.Peer
	log  *event.Log
	last atomic.Uint64
}

func (h *handler) HandleRPC(stream drpc.Stream, rpc string) error {
	if rpc == service.BenchEcho || rpc == service.BenchStream {
		return h.next.HandleRPC(stream, rpc)
	}

	about := event.Event{RPC: rpc, ID: h.last.Add(1)}
	if transport, ok := drpcctx.Transport(stream.Context()); ok {
		about.Conn = connID(transport)
	}
	if metadata, ok := drpcmetadata.Get(stream.Context()); ok {
		about.Token = metadata["token"]
	}
	write := func(name string) {
		e := about
		e.Event = name
		h.log.Write(e)
	}

	write("start")
	tracked := &trackedStream{Stream: stream, answersOnce: service.AnswersOnce(rpc)}
	stop := context.AfterFunc(stream.Context(), func() {
		if tracked.finish() {
			write("canceled")
		}
	})
	err := h.next.HandleRPC(tracked, rpc)
	stop()
	// A handler that noticed the cancel in a send or receive may get here before the function above runs.
	if tracked.finish() && stream.Context().Err() != nil {
		write("canceled")
	}
	end := about
	end.Event = "end"
	if err != nil {
		failure := h.peer.Read(err)
		end.Code, end.Error = failure.Code, failure.Message
	}
	h.log.Write(end)
	return err
}

// connID finds the number of the connection below TLS and the preamble's wrapper.
func connID(transport drpc.Transport) uint64 {
	switch conn := transport.(type) {
	case *trackedConn:
		return conn.id
	default:
		return 0
	}
}

// trackedStream knows whether the handler had done all it does when the stream ended. Without this a
// client that closes its stream right after the answer would look like one that cancels.
type trackedStream struct {
	drpc.Stream
	answersOnce bool
	finished    atomic.Bool
}

// finish returns whether it is the first to be called.
func (s *trackedStream) finish() bool { return !s.finished.Swap(true) }

func (s *trackedStream) MsgSend(msg drpc.Message, enc drpc.Encoding) error {
	if s.answersOnce {
		s.finish()
	}
	return s.Stream.MsgSend(msg, enc)
}

func (s *trackedStream) CloseSend() error {
	s.finish()
	return s.Stream.CloseSend()
}
