// Package mux is a stand-in for the multiplexing generation of cockroachdb/drpc, whose module the Go module
// proxy does not serve. It is written from the project's own description of that generation and shares no code
// with it: what it shows is that two implementations of that description understand each other, not that
// the description is right.
//
// What it takes from real Go packages: frames, varints, names and metadata from storj.io/drpc, and the
// bytes of error payloads from google.golang.org/genproto's google.rpc.Status.
package mux
