// Package call is the client program: named scenarios against a server, and the throughput modes.
package call

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"storj.io/drpc"
	"storj.io/drpc/drpcmigrate"

	"interop.test/storj/event"
	"interop.test/storj/peer"
	"interop.test/storj/serve"
	"interop.test/storj/service"
)

// Client is a client of one server.
type Client struct {
	Peer     *peer.Peer
	Network  string
	Addr     string
	Preamble bool
	// PreambleBeforeTLS sends it in front of the TLS handshake instead of in TLS.
	PreambleBeforeTLS bool
	TLS               *tls.Config
	Options           peer.Options
	Metadata          map[string]string
	// Expect, when not 0, is the code that unknown-rpc and max-streams must answer with.
	ExpectUnknown, ExpectRefused uint64

	// Ready is called by a scenario that is about to end its call, with its name: it returns when the
	// other side has got that far.
	Ready func(ctx context.Context, scenario string) error
}

// Result is the outcome of one scenario.
type Result struct {
	Scenario string `json:"scenario"`
	OK       bool   `json:"ok"`
	// Problem says what was not as the scenario demands; absent when OK.
	Problem string `json:"problem,omitempty"`
	// Code, Error and Details are the rpc error that the client saw, expected or not.
	Code    *uint64       `json:"code,omitempty"`
	Error   string        `json:"error,omitempty"`
	Details []peer.Detail `json:"details,omitempty"`
	// Class is the error's identity for Go: eof, canceled, deadline, closed, rpc.
	Class string `json:"class,omitempty"`
	// Connection says whether the connection was open or closed after a cancel or failure.
	Connection string         `json:"connection,omitempty"`
	Notes      map[string]any `json:"notes,omitempty"`
	Ms         int64          `json:"ms"`
}

// Run is a scenario under way.
type Run struct {
	*Client
	Result
	conn drpc.Conn
	mu   sync.Mutex
}

// Dial opens a connection.
func (c *Client) Dial(ctx context.Context) (drpc.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, c.Network, c.Addr)
	if err != nil {
		return nil, err
	}
	if c.PreambleBeforeTLS {
		conn = drpcmigrate.NewHeaderConn(conn, drpcmigrate.DRPCHeader)
	}
	if c.TLS != nil {
		conn = tls.Client(conn, c.TLS)
	}
	if c.Preamble {
		conn = drpcmigrate.NewHeaderConn(conn, drpcmigrate.DRPCHeader)
	}
	return c.Peer.Conn(conn, c.Options), nil
}

// Play runs one scenario on a connection of its own.
func (c *Client) Play(ctx context.Context, s Scenario) Result {
	start := time.Now()
	run := &Run{Client: c, Result: Result{Scenario: s.Name}}
	err := run.do(ctx, s)
	run.OK = err == nil
	if err != nil {
		run.Problem = err.Error()
	}
	run.Ms = time.Since(start).Milliseconds()
	return run.Result
}

func (r *Run) do(ctx context.Context, s Scenario) error {
	if len(r.Metadata) > 0 {
		ctx = r.Peer.WithMetadata(ctx, r.Metadata)
	}
	conn, err := r.Dial(ctx)
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	r.conn = conn
	defer func() { _ = conn.Close() }()
	return s.run(ctx, r)
}

// saw records the error that ended a call.
func (r *Run) saw(err error) {
	if err == nil {
		return
	}
	failure := r.Peer.Read(err)
	r.Code, r.Error, r.Details = &failure.Code, failure.Message, failure.Details
	r.Class = r.Peer.Class(err)
}

// The classes of errors that scenarios demand.
const (
	canceledClass = "canceled"
	deadlineClass = "deadline"
)

// want demands that a call failed with an error of the class, which is recorded.
func (r *Run) want(err error, class string) error {
	if err == nil {
		return fmt.Errorf("ended well instead of with an error of the class %s", class)
	}
	r.saw(err)
	if r.Class != class {
		return fmt.Errorf("not %s: %w", class, err)
	}
	return nil
}

func (r *Run) note(name string, value any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Notes == nil {
		r.Notes = map[string]any{}
	}
	r.Notes[name] = value
}

// usable demands that the connection still works.
func (r *Run) usable(ctx context.Context) error {
	answer, err := r.echo(ctx, []byte("still here"))
	if err != nil {
		r.Connection = "closed"
		return fmt.Errorf("the connection is of no use afterwards: %w", err)
	}
	r.Connection = "open"
	if string(answer) != "still here" {
		return fmt.Errorf("the next call was answered with %q", answer)
	}
	return nil
}

// afterCancel demands a usable connection when a cancel is a frame, and a closed one when it is not.
func (r *Run) afterCancel(ctx context.Context) error {
	if r.Peer.Multiplexes || r.Options.SoftCancel {
		return r.usable(ctx)
	}
	return r.closed(ctx)
}

// closed demands that the connection gets closed.
func (r *Run) closed(ctx context.Context) error {
	select {
	case <-r.conn.Closed():
		r.Connection = "closed"
		return nil
	case <-ctx.Done():
		r.Connection = "open"
		return errors.New("the connection stayed open")
	}
}

func (r *Run) echo(ctx context.Context, data []byte) ([]byte, error) {
	return r.invoke(ctx, service.Prefix+"Echo", data)
}

func (r *Run) invoke(ctx context.Context, rpc string, data []byte) ([]byte, error) {
	return Invoke(ctx, r.conn, rpc, data)
}

func (r *Run) open(ctx context.Context, method string) (*Stream, error) {
	stream, err := r.conn.NewStream(ctx, service.Prefix+method, service.Encoding{})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", method, err)
	}
	return &Stream{stream}, nil
}

// Invoke makes a unary call with raw bytes.
func Invoke(ctx context.Context, conn drpc.Conn, rpc string, data []byte) ([]byte, error) {
	var out service.Raw
	if err := conn.Invoke(ctx, rpc, service.Encoding{}, &service.Raw{Data: data}, &out); err != nil {
		return nil, err
	}
	return out.Data, nil
}

// Stream is a stream of raw bytes.
type Stream struct{ drpc.Stream }

// Send sends one message.
func (s *Stream) Send(data []byte) error {
	return s.MsgSend(&service.Raw{Data: data}, service.Encoding{})
}

// Recv receives one message.
func (s *Stream) Recv() ([]byte, error) {
	var raw service.Raw
	err := s.MsgRecv(&raw, service.Encoding{})
	return raw.Data, err
}

// End demands that the stream has ended well.
func (s *Stream) End() error {
	data, err := s.Recv()
	if err == nil {
		return fmt.Errorf("one more message than there should be: %q", data)
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("instead of the end: %w", err)
	}
	return nil
}

// Main runs the client program for the peer and returns the exit code.
func Main(p *peer.Peer, args []string, in io.Reader, out io.Writer) int {
	flags := flag.NewFlagSet(p.Name+"-client", flag.ContinueOnError)
	c := &Client{Peer: p}
	flags.StringVar(&c.Network, "network", "tcp", "tcp or unix")
	flags.StringVar(&c.Addr, "addr", "", "address of the server, or a path for unix")
	flags.BoolVar(&c.Preamble, "preamble", false, "begin the connection with DRPC!!!1")
	flags.BoolVar(&c.PreambleBeforeTLS, "preamble-before-tls", false, "the same, in front of the TLS handshake")
	ca := flags.String("tls-ca", "", "PEM file of the authority; speaks TLS")
	serverName := flags.String("tls-name", "localhost", "name that the server's certificate must have")
	names := flags.String("scenario", "", "names with commas between them, or all, raw, greeter; list: print the names")
	timeout := flags.Duration("timeout", 30*time.Second, "how long one scenario may take")
	interactive := flags.Bool("interactive", false, "wait for a line on stdin where a scenario is about to cancel")
	cancelAfter := flags.Duration("cancel-after", 200*time.Millisecond, "without -interactive: how long to wait there")
	metadata := flags.String("metadata", "", "key=value pairs with commas between them, sent with every call")
	flags.Uint64Var(&c.ExpectUnknown, "expect-unknown", 0, "code that an unknown rpc must answer with (0: any)")
	flags.Uint64Var(&c.ExpectRefused, "expect-refused", 0, "code that a refusal by max-streams must answer with (0: any)")
	mode := flags.String("bench", "", "unary or stream: measure instead of running scenarios")
	concurrency := flags.Int("concurrency", 1, "bench: calls at once (on one connection if it multiplexes, else one each)")
	connections := flags.Int("connections", 0, "bench: connections (0: 1 if it multiplexes, else one for each call)")
	size := flags.Int("size", 100, "bench: bytes of a message")
	seconds := flags.Float64("seconds", 2, "bench: how long to measure")
	options := serve.Flags(flags)
	if err := flags.Parse(args); err != nil {
		return 2
	}
	c.Options = *options
	if *metadata != "" {
		c.Metadata = map[string]string{}
		for _, pair := range strings.Split(*metadata, ",") {
			key, value, _ := strings.Cut(pair, "=")
			c.Metadata[key] = value
		}
	}
	if *ca != "" {
		pem, err := os.ReadFile(*ca)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		c.TLS = &tls.Config{RootCAs: pool, ServerName: *serverName}
	}
	log := event.New(out)

	if *mode != "" {
		result, err := c.Bench(context.Background(), *mode, *concurrency, *connections, *size, time.Duration(*seconds*float64(time.Second)))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		log.Line(result)
		return 0
	}

	selected, err := Select(*names, c)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if *names == "list" {
		for _, s := range selected {
			_, _ = fmt.Fprintln(out, s.Name)
		}
		return 0
	}

	lines := bufio.NewScanner(in)
	c.Ready = func(ctx context.Context, scenario string) error {
		if !*interactive {
			return pause(ctx, *cancelAfter)
		}
		log.Line(map[string]string{"event": "ready", "scenario": scenario})
		if !lines.Scan() {
			return errors.New("stdin ended")
		}
		return nil
	}

	code := 0
	for _, s := range selected {
		ctx, cancel := context.WithTimeout(context.Background(), *timeout)
		result := c.Play(ctx, s)
		cancel()
		log.Line(result)
		if !result.OK {
			code = 1
		}
	}
	return code
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
