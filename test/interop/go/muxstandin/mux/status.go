package mux

import (
	"context"
	"errors"
	"fmt"
	"io"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"storj.io/drpc"

	"interop.test/storj/peer"
)

// The codes that the stand-in itself gives.
const (
	codeCanceled          = 1
	codeUnknown           = 2
	codeDeadlineExceeded  = 4
	codeResourceExhausted = 8
	codeUnavailable       = 14
)

// payloadVersion is the first byte of an error payload.
const payloadVersion = 1

// Status is an error with a gRPC code.
type Status struct{ Failure peer.Failure }

func (s *Status) Error() string { return s.Failure.Message }

func status(code uint64, format string, args ...any) error {
	return &Status{peer.Failure{Code: code, Message: fmt.Sprintf(format, args...)}}
}

// Read takes an error apart, as it would be sent.
func Read(err error) peer.Failure {
	var s *Status
	switch {
	case err == nil:
		return peer.Failure{}
	case errors.As(err, &s):
		return s.Failure
	case errors.Is(err, context.Canceled):
		return peer.Failure{Code: codeCanceled, Message: err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return peer.Failure{Code: codeDeadlineExceeded, Message: err.Error()}
	case drpc.ClosedError.Has(err):
		return peer.Failure{Code: codeUnavailable, Message: err.Error()}
	case errors.Is(err, io.EOF):
		return peer.Failure{Message: err.Error()}
	default:
		return peer.Failure{Code: codeUnknown, Message: err.Error()}
	}
}

// MarshalError returns the payload of an Error packet: a version and a google.rpc.Status.
func MarshalError(err error) []byte {
	failure := Read(err)
	s := &spb.Status{Code: int32(failure.Code), Message: failure.Message}
	for _, detail := range failure.Details {
		s.Details = append(s.Details, &anypb.Any{TypeUrl: detail.TypeURL, Value: detail.Value})
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(s)
	if err != nil {
		return nil
	}
	return append([]byte{payloadVersion}, data...)
}

// UnmarshalError reads the payload of an Error packet.
func UnmarshalError(data []byte) error {
	if len(data) == 0 {
		return errors.New("drpcwire: empty error data")
	}
	if data[0] != payloadVersion {
		return fmt.Errorf("drpcwire: unsupported error version: %d", data[0])
	}
	var s spb.Status
	if err := proto.Unmarshal(data[1:], &s); err != nil {
		return fmt.Errorf("drpcwire: failed to unmarshal error: %w", err)
	}
	failure := peer.Failure{Code: uint64(uint32(s.GetCode())), Message: s.GetMessage()}
	for _, detail := range s.GetDetails() {
		failure.Details = append(failure.Details, peer.Detail{
			TypeURL: detail.GetTypeUrl(), Value: append([]byte{}, detail.GetValue()...),
		})
	}
	return &Status{failure}
}
