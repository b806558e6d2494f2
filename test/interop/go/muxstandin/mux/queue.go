package mux

import "sync"

// queue holds the messages that have arrived on a stream and not been taken.
type queue struct {
	slots  int // most messages held; 0: no limit
	budget int // most bytes held, but for a single message; 0: no limit

	mu       sync.Mutex
	cond     sync.Cond
	messages [][]byte
	bytes    int
	err      error
}

func newQueue(slots, budget int) *queue {
	q := &queue{slots: slots, budget: budget}
	q.cond.L = &q.mu
	return q
}

// put waits for room. After close it does nothing.
func (q *queue) put(message []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.err == nil && !q.fits(len(message)) {
		q.cond.Wait()
	}
	if q.err != nil {
		return
	}
	q.messages = append(q.messages, message)
	q.bytes += len(message)
	q.cond.Broadcast()
}

func (q *queue) fits(size int) bool {
	return len(q.messages) == 0 ||
		(q.slots == 0 || len(q.messages) < q.slots) && (q.budget == 0 || q.bytes+size <= q.budget)
}

// get waits for a message; once the queue is closed and empty it answers the error of close.
func (q *queue) get() ([]byte, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.messages) == 0 && q.err == nil {
		q.cond.Wait()
	}
	if len(q.messages) == 0 {
		return nil, q.err
	}
	message := q.messages[0]
	q.messages[0] = nil
	q.messages = q.messages[1:]
	q.bytes -= len(message)
	q.cond.Broadcast()
	return message, nil
}

// close ends the queue after what it holds. The first error wins.
func (q *queue) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
		q.cond.Broadcast()
	}
}
