package mux

import (
	"math"
	"sync"

	"interop.test/storj/peer"
)

// The defaults of flow control, in bytes.
const (
	defaultStreamWindow   = 2 << 20
	defaultMaximumMessage = 64 << 20
	defaultSplitSize      = 64 << 10
)

// flow is the flow control of a connection; nil when there is none.
type flow struct {
	window    int // credit a stream begins with
	threshold int // consumed bytes that are granted back at once
	message   int // largest message
}

func newFlow(options peer.Options) *flow {
	if !options.FlowControl {
		return nil
	}
	f := &flow{window: options.StreamWindow, message: defaultMaximumMessage}
	if f.window == 0 {
		f.window = defaultStreamWindow
	}
	f.threshold = max(1, f.window/4)
	return f
}

// sendWindow is the credit of one stream. A nil window never waits.
type sendWindow struct {
	mu      sync.Mutex
	balance int64
	credit  chan struct{} // closed when the balance is no longer negative
}

func newSendWindow(size int) *sendWindow {
	return &sendWindow{balance: int64(size), credit: make(chan struct{})}
}

// take debits n bytes. The first frame of a message then waits while the balance is negative; later
// frames do not, so that a message larger than the window gets through.
func (w *sendWindow) take(n int, first bool, canceled <-chan struct{}) (ok bool) {
	if w == nil || n == 0 {
		return true
	}
	w.mu.Lock()
	w.balance -= int64(n)
	for first && w.balance < 0 {
		credit := w.credit
		w.mu.Unlock()
		select {
		case <-credit:
		case <-canceled:
			return false
		}
		w.mu.Lock()
	}
	w.mu.Unlock()
	return true
}

// grant adds credit.
func (w *sendWindow) grant(n uint64) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.balance
	if n > math.MaxInt64 || w.balance > 0 && int64(n) > math.MaxInt64-w.balance {
		w.balance = math.MaxInt64
	} else {
		w.balance += int64(n)
	}
	if before < 0 && w.balance >= 0 {
		close(w.credit)
		w.credit = make(chan struct{})
	}
}
