// Package capture records whole calls: a real client talks to a real server over an in-memory pipe, and
// every frame of both directions is kept.
package capture

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"storj.io/drpc"
	"storj.io/drpc/drpcwire"

	"interop.test/storj/event"
	"interop.test/storj/peer"
	"interop.test/storj/serve"
)

// Transcript is one recorded connection.
type Transcript struct {
	Name string `json:"name"`
	// Note says what the bytes do not show.
	Note string `json:"note,omitempty"`
	// Client and Server are the frames that each side sent, in order, in hex.
	Client []string `json:"client"`
	Server []string `json:"server"`
	// ClientWrites and ServerWrites say how many frames went out in each write, where that is certain.
	ClientWrites []int `json:"clientWrites,omitempty"`
	ServerWrites []int `json:"serverWrites,omitempty"`
	// Received are the messages that the client program got, in hex.
	Received []string `json:"received"`
	// Error is what the client program got instead of an answer, or after the messages.
	Error *Error `json:"error,omitempty"`
}

// Error is an error as the client program sees it.
type Error struct {
	Class   string        `json:"class"`
	Code    uint64        `json:"code"`
	Message string        `json:"message"`
	Details []peer.Detail `json:"details,omitempty"`
}

// Script is what the client does on the connection.
type Script struct {
	Name    string
	Note    string
	Options peer.Options
	// HoldCloseSend decides the race at the end of a unary call: the client writes Close when the server
	// has written CloseSend, and sees that CloseSend only afterwards.
	HoldCloseSend bool
	// SendFirst decides another race: the client sees nothing before it has written CloseSend.
	SendFirst bool
	// Multiplexed: only for peers that carry several streams at once.
	Multiplexed bool
	// Compressed: only for peers that can compress.
	Compressed bool
	// Limited: only for peers with a limit of messages. MaxMessage is the server's; the client has none.
	Limited    bool
	MaxMessage int
	Run        func(ctx context.Context, s *Session) error
}

// Session is a script under way.
type Session struct {
	Peer       *peer.Peer
	Conn       drpc.Conn
	transcript *Transcript
	events     chan event.Event
	client     *recorder
	server     *recorder
	halfClosed int // how many CloseSends the script has made that must be written before the connection ends
}

// Received records messages that the client got.
func (s *Session) Received(messages ...[]byte) {
	for _, message := range messages {
		s.transcript.Received = append(s.transcript.Received, hex.EncodeToString(message))
	}
}

// Failed records the error that the client got, which must not be nil.
func (s *Session) Failed(err error) error {
	if err == nil {
		return errors.New("ended well instead of failing")
	}
	failure := s.Peer.Read(err)
	s.transcript.Error = &Error{
		Class: s.Peer.Class(err), Code: failure.Code, Message: failure.Message, Details: failure.Details,
	}
	return nil
}

// Await waits for a server event.
func (s *Session) Await(ctx context.Context, name string) error {
	for {
		select {
		case e := <-s.events:
			if e.Event == name {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("no event %q", name)
		}
	}
}

// errHardCancel: the client closed the connection instead of sending Cancel, as storj does when the
// canceled call still holds a lock.
var errHardCancel = errors.New("no Cancel was sent")

// CancelSent waits until the client has written Cancel.
func (s *Session) CancelSent(ctx context.Context) error {
	select {
	case <-s.client.seen[drpcwire.KindCancel]:
		return nil
	case <-s.Conn.Closed():
		return errHardCancel
	case <-ctx.Done():
		return errHardCancel
	}
}

// Record runs the script. When writes is set, the number of frames of each write is recorded too.
func Record(p *peer.Peer, script Script, writes bool) (Transcript, error) {
	for tries := 1; ; tries++ {
		transcript, err := record(p, script, writes)
		if tries < 10 && errors.Is(err, errHardCancel) {
			continue
		}
		return transcript, err
	}
}

func record(p *peer.Peer, script Script, writes bool) (Transcript, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	transcript := Transcript{Name: script.Name, Note: script.Note, Received: []string{}}
	clientEnd, serverEnd := net.Pipe()
	client, server := newRecorder(clientEnd), newRecorder(serverEnd)
	if script.HoldCloseSend {
		client.holdCloseSend = true
	}
	client.sendFirst = script.SendFirst

	events := make(chan event.Event, 1000)
	serverOptions := script.Options
	serverOptions.MaxMessage = script.MaxMessage
	serveCtx, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() {
		served <- serve.Serve(serveCtx, p, newListener(server), false, serverOptions, event.New(eventWriter(events)))
	}()

	session := &Session{Peer: p, Conn: p.Conn(client, script.Options), transcript: &transcript, events: events,
		client: client, server: server}
	err := script.Run(ctx, session)
	if err == nil && script.HoldCloseSend {
		err = client.wrote(ctx, drpcwire.KindClose)
	}
	if err == nil {
		err = client.halfClosed(ctx, session.halfClosed)
	}
	_ = session.Conn.Close()
	stop()
	<-served
	if err != nil {
		return transcript, fmt.Errorf("%s: %w", script.Name, err)
	}

	if transcript.Client, transcript.ClientWrites, err = client.frames(); err != nil {
		return transcript, err
	}
	if transcript.Server, transcript.ServerWrites, err = server.frames(); err != nil {
		return transcript, err
	}
	if !writes {
		transcript.ClientWrites, transcript.ServerWrites = nil, nil
	}
	return transcript, nil
}

// recorder keeps what is written.
type recorder struct {
	net.Conn
	seen   map[drpcwire.Kind]chan struct{} // closed when a frame of the kind has been written
	mu     sync.Mutex
	writes [][]byte
	wakes  chan struct{} // told of every write

	sendFirst     bool
	holdCloseSend bool
	held          chan struct{} // closed when a CloseSend has arrived and is held back
	unread        []byte        // arrived and not handed on yet

	once sync.Once
	done chan struct{} // closed with the connection
}

func newRecorder(conn net.Conn) *recorder {
	r := &recorder{
		Conn: conn, seen: map[drpcwire.Kind]chan struct{}{}, wakes: make(chan struct{}, 1),
		held: make(chan struct{}), done: make(chan struct{}),
	}
	for _, kind := range []drpcwire.Kind{drpcwire.KindCancel, drpcwire.KindClose, drpcwire.KindCloseSend} {
		r.seen[kind] = make(chan struct{})
	}
	return r
}

// wrote waits until a frame of the kind has been written.
func (r *recorder) wrote(ctx context.Context, kind drpcwire.Kind) error {
	select {
	case <-r.seen[kind]:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("no frame of kind %v", kind)
	}
}

// halfClosed waits until count CloseSends have been written: a writer of its own task may be behind, and what it has
// not written when the connection is closed is lost.
func (r *recorder) halfClosed(ctx context.Context, count int) error {
	for {
		r.mu.Lock()
		written := countKind(bytes.Join(r.writes, nil), drpcwire.KindCloseSend)
		r.mu.Unlock()
		if written >= count {
			return nil
		}
		select {
		case <-r.wakes:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d CloseSends were written", written, count)
		}
	}
}

// Close closes the connection.
func (r *recorder) Close() error {
	r.once.Do(func() { close(r.done) })
	return r.Conn.Close()
}

// Read hands on what arrives, frame by frame when the first CloseSend is to be held back.
func (r *recorder) Read(p []byte) (int, error) {
	if r.sendFirst {
		select {
		case <-r.seen[drpcwire.KindCloseSend]:
		case <-r.done:
			return 0, net.ErrClosed
		}
	}
	if !r.holdCloseSend {
		return r.Conn.Read(p)
	}
	for {
		rest, frame, ok, err := drpcwire.ParseFrame(r.unread)
		if err != nil {
			return 0, err
		}
		if !ok {
			chunk := make([]byte, 4096)
			n, err := r.Conn.Read(chunk)
			if err != nil {
				return 0, err
			}
			r.unread = append(r.unread, chunk[:n]...)
			continue
		}
		if frame.Kind == drpcwire.KindCloseSend && !isClosed(r.held) {
			close(r.held)
			select {
			case <-r.seen[drpcwire.KindClose]:
			case <-r.done:
				return 0, net.ErrClosed
			}
		}
		n := copy(p, r.unread[:len(r.unread)-len(rest)])
		r.unread = r.unread[n:]
		return n, nil
	}
}

func (r *recorder) Write(data []byte) (int, error) {
	if r.holdCloseSend && countKind(data, drpcwire.KindClose) > 0 {
		select {
		case <-r.held:
		case <-r.done:
			return 0, net.ErrClosed
		}
	}
	// Kept before the other side can answer, which may be the end of the script.
	r.mu.Lock()
	r.writes = append(r.writes, bytes.Clone(data))
	r.mu.Unlock()
	n, err := r.Conn.Write(data)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		last := len(r.writes) - 1
		r.writes[last] = r.writes[last][:n]
		if n == 0 {
			r.writes = r.writes[:last]
		}
		return n, err
	}
	for kind, seen := range r.seen {
		if countKind(data, kind) > 0 && !isClosed(seen) {
			close(seen)
		}
	}
	select {
	case r.wakes <- struct{}{}:
	default:
	}
	return n, nil
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// countKind returns how many of the frames in data are of the kind.
func countKind(data []byte, kind drpcwire.Kind) (count int) {
	for {
		rest, frame, ok, err := drpcwire.ParseFrame(data)
		if !ok || err != nil {
			return count
		}
		if frame.Kind == kind {
			count++
		}
		data = rest
	}
}

// frames returns the frames in hex and how many began in each write.
func (r *recorder) frames() (frames []string, writes []int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	frames = []string{}
	var pending []byte
	for _, data := range r.writes {
		pending = append(pending, data...)
		count := 0
		for {
			rest, _, ok, err := drpcwire.ParseFrame(pending)
			if err != nil {
				return nil, nil, err
			}
			if !ok {
				break
			}
			frames = append(frames, hex.EncodeToString(pending[:len(pending)-len(rest)]))
			pending = rest
			count++
		}
		writes = append(writes, count)
	}
	if len(pending) > 0 {
		return nil, nil, fmt.Errorf("half a frame: %x", pending)
	}
	return frames, writes, nil
}

// listener accepts one connection.
type listener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newListener(conn net.Conn) *listener {
	l := &listener{conns: make(chan net.Conn, 1), done: make(chan struct{})}
	l.conns <- conn
	return l
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

type eventWriter chan<- event.Event

func (w eventWriter) Write(line []byte) (int, error) {
	var e event.Event
	if err := json.Unmarshal(line, &e); err != nil {
		return 0, err
	}
	w <- e
	return len(line), nil
}

var _ io.Writer = eventWriter(nil)
