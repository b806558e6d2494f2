package service

import (
	"context"

	"storj.io/drpc"

	"interop.test/storj/greeter"
	"interop.test/storj/peer"
)

// The rpc names of the raw services.
const (
	Prefix      = "/interop.Interop/"
	BenchEcho   = "/bench/echo"
	BenchStream = "/bench/stream"
	Greeter     = "/interop.v1.Greeter/"
)

type (
	unary        = func(*interop, context.Context, *Raw) (*Raw, error)
	serverStream = func(*interop, *Raw, drpc.Stream) error
	messages     = func(*interop, drpc.Stream) error
)

type method struct {
	rpc     string
	handler any
	// answersOnce: a unary or client-stream rpc, whose one answer is its end.
	answersOnce bool
}

var methods = []method{
	{Prefix + "Echo", unary((*interop).Echo), true},
	{Prefix + "EchoMeta", unary((*interop).EchoMeta), true},
	{Prefix + "Count", serverStream((*interop).Count), false},
	{Prefix + "Endless", serverStream((*interop).Endless), false},
	{Prefix + "Sum", messages((*interop).Sum), true},
	{Prefix + "Chat", messages((*interop).Chat), false},
	{Prefix + "Fail", unary((*interop).Fail), true},
	{Prefix + "FailAfter", serverStream((*interop).FailAfter), false},
	{Prefix + "Slow", unary((*interop).Slow), true},
	{Prefix + "Hang", unary((*interop).Hang), true},
	{Prefix + "Sink", messages((*interop).Sink), true},
	{Prefix + "Nil", unary((*interop).Nil), true},
	{Prefix + "Early", messages((*interop).Early), false},
	{Prefix + "Drop", messages((*interop).Drop), false},
	{BenchEcho, unary((*interop).Echo), true},
	{BenchStream, serverStream((*interop).Count), false},
}

// description registers the methods by hand, as generated code does.
type description struct{}

func (description) NumMethods() int { return len(methods) }

func (description) Method(n int) (string, drpc.Encoding, drpc.Receiver, any, bool) {
	if n < 0 || n >= len(methods) {
		return "", nil, nil, nil, false
	}
	var receive drpc.Receiver
	switch handler := methods[n].handler.(type) {
	case unary:
		receive = func(srv any, ctx context.Context, in1, in2 any) (drpc.Message, error) {
			return handler(srv.(*interop), ctx, in1.(*Raw))
		}
	case serverStream:
		receive = func(srv any, ctx context.Context, in1, in2 any) (drpc.Message, error) {
			return nil, handler(srv.(*interop), in1.(*Raw), in2.(drpc.Stream))
		}
	case messages:
		receive = func(srv any, ctx context.Context, in1, in2 any) (drpc.Message, error) {
			return nil, handler(srv.(*interop), in1.(drpc.Stream))
		}
	default:
		return "", nil, nil, nil, false
	}
	return methods[n].rpc, Encoding{}, receive, methods[n].handler, true
}

// Register registers the raw services and the Greeter.
func Register(mux drpc.Mux, p *peer.Peer) error {
	if err := mux.Register(&interop{peer: p}, description{}); err != nil {
		return err
	}
	return greeter.DRPCRegisterGreeter(mux, &greeterServer{peer: p})
}

// AnswersOnce says whether the rpc is unary or a client stream.
func AnswersOnce(rpc string) bool {
	for _, m := range methods {
		if m.rpc == rpc {
			return m.answersOnce
		}
	}
	return rpc != Greeter+"ListHellos" && rpc != Greeter+"Chat"
}
