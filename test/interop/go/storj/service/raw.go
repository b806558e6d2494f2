package service

import (
	"fmt"

	"storj.io/drpc"
)

// Raw is a message of bytes that nobody looks into.
type Raw struct{ Data []byte }

// Encoding carries the bytes of a *Raw untouched.
type Encoding struct{}

// Marshal returns the message's bytes.
func (Encoding) Marshal(msg drpc.Message) ([]byte, error) {
	raw, ok := msg.(*Raw)
	if !ok {
		return nil, fmt.Errorf("not a raw message: %T", msg)
	}
	return raw.Data, nil
}

// Unmarshal copies buf into the message.
func (Encoding) Unmarshal(buf []byte, msg drpc.Message) error {
	raw, ok := msg.(*Raw)
	if !ok {
		return fmt.Errorf("not a raw message: %T", msg)
	}
	raw.Data = append(raw.Data[:0], buf...)
	return nil
}

// Fill returns size bytes that anybody can make again: byte j is (seed + j) mod 251.
func Fill(seed, size int) []byte {
	data := make([]byte, size)
	for j := range data {
		data[j] = byte((seed + j) % 251)
	}
	return data
}
