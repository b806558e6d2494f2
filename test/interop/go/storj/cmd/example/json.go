package main

import (
	"encoding/json"

	"storj.io/drpc"
)

// JSON is what Nest services and clients speak unless they are told otherwise.
type JSON struct{}

// Marshal makes a message of a value.
func (JSON) Marshal(value drpc.Message) ([]byte, error) { return json.Marshal(value) }

// Unmarshal reads a message; the empty one is what undefined is in Nest.
func (JSON) Unmarshal(data []byte, value drpc.Message) error {
	if len(data) == 0 {
		return nil
	}
	return json.Unmarshal(data, value)
}

// Query asks for a book.
type Query struct {
	Title string `json:"title"`
}

// Book is an answer.
type Book struct {
	Title string `json:"title"`
	Year  int    `json:"year"`
}
