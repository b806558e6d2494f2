package service

import (
	"context"
	"errors"
	"io"
	"strings"

	"google.golang.org/protobuf/types/known/emptypb"

	"interop.test/storj/greeter"
	"interop.test/storj/peer"
)

type greeterServer struct{ peer *peer.Peer }

var _ greeter.DRPCGreeterServer = (*greeterServer)(nil)

func (g *greeterServer) SayHello(ctx context.Context, in *greeter.HelloRequest) (*greeter.HelloReply, error) {
	if in.GetHang() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return hello(in.GetName(), 0), nil
}

func (g *greeterServer) ListHellos(in *greeter.ListHellosRequest, stream greeter.DRPCGreeter_ListHellosStream) error {
	for index := range in.GetCount() {
		if err := stream.Send(hello(in.GetName(), index)); err != nil {
			return err
		}
	}
	if in.GetHang() {
		<-stream.Context().Done()
		return stream.Context().Err()
	}
	if in.GetFail().GetCode() != 0 {
		return g.peer.Fail(failureOf(in.GetFail()))
	}
	return nil
}

func (g *greeterServer) CollectHellos(stream greeter.DRPCGreeter_CollectHellosStream) error {
	var names []string
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&greeter.CollectHellosReply{
				Message: "Hello, " + strings.Join(names, " and ") + "!",
				Names:   names,
			})
		}
		if err != nil {
			return err
		}
		names = append(names, in.GetName())
	}
}

func (g *greeterServer) Chat(stream greeter.DRPCGreeter_ChatStream) error {
	for index := uint32(0); ; index++ {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(hello(in.GetName(), index)); err != nil {
			return err
		}
	}
}

func (g *greeterServer) EchoAll(ctx context.Context, in *greeter.AllTypes) (*greeter.AllTypes, error) {
	return in, nil
}

func (g *greeterServer) Fail(ctx context.Context, in *greeter.FailRequest) (*greeter.HelloReply, error) {
	return nil, g.peer.Fail(failureOf(in))
}

func (g *greeterServer) Ping(ctx context.Context, in *emptypb.Empty) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func hello(name string, index uint32) *greeter.HelloReply {
	return &greeter.HelloReply{Message: "Hello, " + name + "!", Index: index}
}

func failureOf(in *greeter.FailRequest) peer.Failure {
	failure := peer.Failure{Code: in.GetCode(), Message: in.GetMessage()}
	for _, detail := range in.GetDetails() {
		failure.Details = append(failure.Details, peer.Detail{TypeURL: detail.GetTypeUrl(), Value: detail.GetValue()})
	}
	return failure
}
