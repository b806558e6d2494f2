package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"storj.io/drpc"
	"storj.io/drpc/drpcwire"
)

var (
	errSendClosed = drpc.Error.New("send closed")
	errSentError  = drpc.Error.New("stream terminated by sending error")
	errSentClose  = drpc.Error.New("stream terminated by sending close")
)

// stream is one rpc.
type stream struct {
	c      *connection
	id     uint64
	ctx    context.Context
	cancel context.CancelFunc
	recv   *queue
	window *sendWindow
	part   partial // of the packet that is arriving; only the reader touches it

	ended   atomic.Bool   // by the remote, or by a cancel: no frame may follow
	writing chan struct{} // holds one token while a message or the last frame is being written

	mu         sync.Mutex
	lastID     uint64        // of the messages sent
	invoked    bool          // the Invoke has been handed to the writer
	sendErr    error         // why nothing more can be sent
	sendDone   chan struct{} // closed with sendErr
	recvDone   bool          // the remote has sent all it will
	terminated bool
	consumed   int // bytes taken by the application and not granted back
	onEnd      func()
}

func newStream(ctx context.Context, c *connection, id uint64) *stream {
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{
		c: c, id: id, ctx: ctx, cancel: cancel, recv: newQueue(queueSlots, 0),
		writing: make(chan struct{}, 1), sendDone: make(chan struct{}),
	}
	if c.flow != nil {
		s.recv = newQueue(0, c.flow.window+c.flow.message)
		s.window = newSendWindow(c.flow.window)
	}
	return s
}

// Context ends when the stream does.
func (s *stream) Context() context.Context { return s.ctx }

// terminate ends both directions; what was set before stays.
func (s *stream) terminate(send, recv error) {
	s.mu.Lock()
	s.terminateLocked(send, recv)
	s.mu.Unlock()
}

func (s *stream) terminateLocked(send, recv error) {
	s.endSendLocked(send)
	s.recv.close(recv)
	if s.terminated {
		return
	}
	s.terminated = true
	s.cancel()
	s.c.forget(s)
	if s.onEnd != nil {
		s.onEnd()
	}
}

func (s *stream) endSendLocked(err error) {
	if s.sendErr == nil {
		s.sendErr = err
		close(s.sendDone)
	}
}

// frameLocked begins a packet.
func (s *stream) frameLocked(kind drpcwire.Kind) drpcwire.Frame {
	s.lastID++
	return drpcwire.Frame{Kind: kind, ID: drpcwire.ID{Stream: s.id, Message: s.lastID}}
}

func split(frame drpcwire.Frame, data []byte, size int) (frames []drpcwire.Frame) {
	packet := drpcwire.Packet{Kind: frame.Kind, ID: frame.ID, Data: data}
	_ = drpcwire.SplitN(packet, size, func(frame drpcwire.Frame) error {
		frames = append(frames, frame)
		return nil
	})
	return frames
}

// writeInvoke writes the metadata, if any, and the name in one piece.
func (s *stream) writeInvoke(rpc string, metadata []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sendErr != nil {
		return s.sendErr
	}
	var frames []drpcwire.Frame
	if len(metadata) > 0 {
		frames = split(s.frameLocked(drpcwire.KindInvokeMetadata), metadata, s.c.split)
	}
	frames = append(frames, split(s.frameLocked(drpcwire.KindInvoke), []byte(rpc), s.c.split)...)
	_, err := s.c.writer.write(nil, &s.ended, frames...)
	s.invoked = err == nil
	return err
}

// MsgSend sends a message; it waits for credit and for room in the writer.
func (s *stream) MsgSend(msg drpc.Message, enc drpc.Encoding) error {
	data, err := enc.Marshal(msg)
	if err != nil {
		return err
	}
	if s.c.flow != nil && len(data) > s.c.flow.message {
		return status(codeResourceExhausted, "message of %d bytes exceeds %d", len(data), s.c.flow.message)
	}
	s.writing <- struct{}{}
	defer func() { <-s.writing }()

	s.mu.Lock()
	if s.sendErr != nil {
		defer s.mu.Unlock()
		return s.sendErr
	}
	frame := s.frameLocked(drpcwire.KindMessage)
	s.mu.Unlock()

	for k, part := range split(frame, data, s.c.split) {
		if !s.window.take(len(part.Data), k == 0, s.sendDone) {
			return s.sendError()
		}
		if err := s.sendError(); err != nil {
			return err
		}
		if ok, err := s.c.writer.write(s.sendDone, &s.ended, part); err != nil {
			return err
		} else if !ok {
			return s.sendError()
		}
	}
	return nil
}

func (s *stream) sendError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sendErr
}

// MsgRecv receives a message.
func (s *stream) MsgRecv(msg drpc.Message, enc drpc.Encoding) error {
	data, err := s.recv.get()
	if err != nil {
		return err
	}
	s.grant(len(data))
	return enc.Unmarshal(data, msg)
}

// grant gives credit back for what the application has taken.
func (s *stream) grant(n int) {
	if s.c.flow == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.consumed += n
	if s.terminated || s.consumed < s.c.flow.threshold {
		return
	}
	_, _ = s.c.writer.write(nil, &s.ended, drpcwire.Frame{
		Kind: kindWindowUpdate, ID: drpcwire.ID{Stream: s.id}, Done: true, Control: true,
		Data: drpcwire.AppendVarint(nil, uint64(s.consumed)),
	})
	s.consumed = 0
}

// last writes a frame that ends this side, after the messages that are being sent. prepare says whether
// there is anything to do, and changes the state.
func (s *stream) last(kind drpcwire.Kind, data []byte, prepare func() bool) error {
	s.writing <- struct{}{}
	defer func() { <-s.writing }()

	s.mu.Lock()
	if s.terminated || !prepare() {
		s.mu.Unlock()
		return nil
	}
	frame := s.frameLocked(kind)
	frame.Data, frame.Done = data, true
	s.mu.Unlock()
	_, err := s.c.writer.write(nil, &s.ended, frame)

	s.mu.Lock()
	if s.recvDone && s.sendErr != nil {
		s.terminateLocked(s.sendErr, io.EOF)
	}
	s.mu.Unlock()
	return err
}

// CloseSend ends this side's messages.
func (s *stream) CloseSend() error {
	return s.last(drpcwire.KindCloseSend, nil, func() bool {
		if s.sendErr != nil {
			return false
		}
		s.endSendLocked(errSendClosed)
		return true
	})
}

// Close ends the stream.
func (s *stream) Close() error {
	return s.last(drpcwire.KindClose, nil, func() bool {
		s.terminateLocked(errSentClose, errSentClose)
		return true
	})
}

// SendError ends the stream with an error.
func (s *stream) SendError(err error) error {
	return s.last(drpcwire.KindError, MarshalError(err), func() bool {
		s.terminateLocked(io.EOF, errSentError)
		return true
	})
}

// sendCancel ends the stream at once and tells the remote, if that knows of it.
func (s *stream) sendCancel(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.terminated {
		return
	}
	s.endSendLocked(io.EOF)
	if s.invoked {
		frame := s.frameLocked(drpcwire.KindCancel)
		frame.Done, frame.Control = true, true
		_, _ = s.c.writer.write(nil, &s.ended, frame)
	}
	s.ended.Store(true)
	s.terminateLocked(io.EOF, cause)
}

// handle takes a packet from the remote. An error is one of the connection.
func (s *stream) handle(packet drpcwire.Packet) error {
	if packet.Kind == drpcwire.KindMessage {
		s.recv.put(packet.Data)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.terminated {
		return nil
	}
	switch packet.Kind {
	case drpcwire.KindInvoke, drpcwire.KindInvokeMetadata:
		return drpc.ProtocolError.New("invoke on existing stream")
	case drpcwire.KindError:
		s.ended.Store(true)
		s.terminateLocked(io.EOF, UnmarshalError(packet.Data))
	case drpcwire.KindCancel:
		s.ended.Store(true)
		s.terminateLocked(io.EOF, context.Canceled)
	case drpcwire.KindClose:
		s.ended.Store(true)
		s.terminateLocked(drpc.ClosedError.New("remote closed the stream"), io.EOF)
	case drpcwire.KindCloseSend:
		s.recvDone = true
		s.recv.close(io.EOF)
		// A CloseSend that is being written terminates the stream itself, once it is out.
		if s.sendErr != nil && len(s.writing) == 0 {
			s.terminateLocked(s.sendErr, io.EOF)
		}
	default:
		if !packet.Control {
			return drpc.InternalError.New("unknown packet kind: %v", packet.Kind)
		}
	}
	return nil
}

// partial assembles the packets of a stream.
type partial struct {
	packet drpcwire.Packet
	open   bool
	next   uint64 // lowest message id that may follow
}

// add takes a frame and answers the packet that it completes.
func (p *partial) add(frame drpcwire.Frame, limit int) (packet drpcwire.Packet, ok bool, err error) {
	switch {
	case frame.ID.Message == 0 || frame.ID.Message < p.next:
		return packet, false, drpc.ProtocolError.New("message id %d below %d on stream %d", frame.ID.Message, max(p.next, 1), frame.ID.Stream)
	case !p.open || frame.ID.Message != p.packet.ID.Message:
		p.packet, p.open = drpcwire.Packet{ID: frame.ID, Kind: frame.Kind}, true
	case frame.Kind != p.packet.Kind:
		return packet, false, drpc.ProtocolError.New("frame kind changed mid-packet")
	}
	p.next = frame.ID.Message
	if limit > 0 && len(p.packet.Data)+len(frame.Data) > limit {
		return packet, false, errMessageSize
	}
	p.packet.Data = append(p.packet.Data, frame.Data...)
	p.packet.Control = frame.Control
	if !frame.Done {
		return packet, false, nil
	}
	packet, p.packet, p.open = p.packet, drpcwire.Packet{}, false
	p.next++
	return packet, true, nil
}

var errMessageSize = errors.New("message size")

func messageSizeError(limit int) error {
	return status(codeResourceExhausted, "%s", fmt.Sprintf("message exceeds %d bytes", limit))
}
