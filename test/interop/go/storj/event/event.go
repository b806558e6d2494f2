// Package event writes what happens as lines of JSON.
package event

import (
	"encoding/json"
	"io"
	"sync"
)

// Log writes one line for each event. It is safe for concurrent use.
type Log struct {
	mu sync.Mutex
	w  io.Writer
}

// New returns a Log that writes to w.
func New(w io.Writer) *Log { return &Log{w: w} }

// Event is one line. Absent fields are left out.
type Event struct {
	Event  string `json:"event"`
	RPC    string `json:"rpc,omitempty"`
	ID     uint64 `json:"id,omitempty"`
	Conn   uint64 `json:"conn,omitempty"`
	Token  string `json:"token,omitempty"`
	Code   uint64 `json:"code,omitempty"`
	Error  string `json:"error,omitempty"`
	Remote string `json:"remote,omitempty"`
}

// Write writes the event, whole, before any later one.
func (l *Log) Write(e Event) { l.Line(e) }

// Line writes any value as one line of JSON.
func (l *Log) Line(value any) {
	line, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.w.Write(append(line, '\n'))
}
