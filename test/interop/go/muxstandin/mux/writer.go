package mux

import (
	"io"
	"sync"
	"sync/atomic"

	"storj.io/drpc/drpcwire"
)

// writer collects frames of all streams; one goroutine writes whatever has been collected.
type writer struct {
	w       io.Writer
	max     int
	onError func(error)

	mu    sync.Mutex
	cond  sync.Cond
	buf   []byte
	space chan struct{} // closed when buf has been taken
	err   error
}

func newWriter(w io.Writer, max int, onError func(error)) *writer {
	out := &writer{w: w, max: max, onError: onError, space: make(chan struct{})}
	out.cond.L = &out.mu
	go out.drain()
	return out
}

// write appends the frames, one right after the other. It waits while too much is collected already,
// unless the first frame is a control frame, until there is room or canceled is closed.
//
// Nothing is appended once ended says that the remote has ended the stream. This is asked in one piece
// with the appending: a peer of one stream at a time gives the connection up when a frame of the ended
// stream follows one of the next stream.
func (w *writer) write(canceled <-chan struct{}, ended *atomic.Bool, frames ...drpcwire.Frame) (ok bool, err error) {
	for {
		w.mu.Lock()
		if w.err != nil {
			defer w.mu.Unlock()
			return false, w.err
		}
		if ended.Load() {
			w.mu.Unlock()
			return false, nil
		}
		if len(w.buf) < w.max || frames[0].Control {
			for _, frame := range frames {
				w.buf = drpcwire.AppendFrame(w.buf, frame)
			}
			w.cond.Signal()
			w.mu.Unlock()
			return true, nil
		}
		space := w.space
		w.mu.Unlock()

		select {
		case <-space:
		case <-canceled:
			return false, nil
		}
	}
}

func (w *writer) drain() {
	var spare []byte
	for {
		w.mu.Lock()
		for len(w.buf) == 0 && w.err == nil {
			w.cond.Wait()
		}
		if w.err != nil {
			w.mu.Unlock()
			return
		}
		data := w.buf
		w.buf = spare[:0]
		close(w.space)
		w.space = make(chan struct{})
		w.mu.Unlock()

		if _, err := w.w.Write(data); err != nil {
			w.onError(err)
			return
		}
		spare = data
	}
}

// stop makes every write fail with err. What is collected is dropped.
func (w *writer) stop(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
		w.buf = nil
		close(w.space)
		w.cond.Broadcast()
	}
}
