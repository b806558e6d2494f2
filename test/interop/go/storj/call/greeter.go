package call

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"interop.test/storj/golden"
	"interop.test/storj/greeter"
	"interop.test/storj/peer"
)

var greeterScenarios = []Scenario{
	{Name: "greeter-unary", run: greeterUnary},
	{Name: "greeter-empty", run: greeterEmpty},
	{Name: "greeter-server-stream", run: greeterServerStream},
	{Name: "greeter-client-stream", run: greeterClientStream},
	{Name: "greeter-bidi", run: greeterBidi},
	{Name: "greeter-all-types", run: greeterAllTypes},
	{Name: "greeter-error", run: greeterError},
	{Name: "greeter-error-after-values", run: greeterErrorAfterValues},
	{Name: "greeter-unknown", run: greeterUnknown},
	{Name: "greeter-cancel-unary", run: greeterCancelUnary},
	{Name: "greeter-cancel-server-stream", run: greeterCancelServerStream},
	{Name: "greeter-cancel-client-stream", run: greeterCancelClientStream},
	{Name: "greeter-cancel-bidi", run: greeterCancelBidi},
	{Name: "greeter-deadline", run: greeterDeadline},
}

func (r *Run) greeter() greeter.DRPCGreeterClient { return greeter.NewDRPCGreeterClient(r.conn) }

// wantHello demands a greeting.
func (r *Run) wantHello(got *greeter.HelloReply, err error, name string, index uint32) error {
	if err != nil {
		r.saw(err)
		return fmt.Errorf("failed: %w", err)
	}
	return wantMessage(got, &greeter.HelloReply{Message: "Hello, " + name + "!", Index: index})
}

func wantMessage(got, want proto.Message) error {
	if !proto.Equal(got, want) {
		return fmt.Errorf("got %v instead of %v", got, want)
	}
	return nil
}

func greeterUnary(ctx context.Context, r *Run) error {
	reply, err := r.greeter().SayHello(ctx, &greeter.HelloRequest{Name: "Ada"})
	return r.wantHello(reply, err, "Ada", 0)
}

func greeterEmpty(ctx context.Context, r *Run) error {
	reply, err := r.greeter().Ping(ctx, &emptypb.Empty{})
	if err != nil {
		r.saw(err)
		return err
	}
	return wantMessage(reply, &emptypb.Empty{})
}

func greeterServerStream(ctx context.Context, r *Run) error {
	stream, err := r.greeter().ListHellos(ctx, &greeter.ListHellosRequest{Name: "Ada", Count: 5})
	if err != nil {
		return err
	}
	for index := range uint32(5) {
		reply, err := stream.Recv()
		if err := r.wantHello(reply, err, "Ada", index); err != nil {
			return err
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("instead of the end: %v", err)
	}
	return r.usable(ctx)
}

func greeterClientStream(ctx context.Context, r *Run) error {
	stream, err := r.greeter().CollectHellos(ctx)
	if err != nil {
		return err
	}
	names := []string{"Ada", "Grace", "Barbara"}
	for _, name := range names {
		if err := stream.Send(&greeter.HelloRequest{Name: name}); err != nil {
			return err
		}
	}
	reply, err := stream.CloseAndRecv()
	if err != nil {
		r.saw(err)
		return err
	}
	if err := wantMessage(reply, &greeter.CollectHellosReply{
		Message: "Hello, Ada and Grace and Barbara!", Names: names,
	}); err != nil {
		return err
	}
	if err := stream.Close(); err != nil {
		return err
	}
	return r.usable(ctx)
}

func greeterBidi(ctx context.Context, r *Run) error {
	stream, err := r.greeter().Chat(ctx)
	if err != nil {
		return err
	}
	for index, name := range []string{"Ada", "Grace", "Barbara"} {
		if err := stream.Send(&greeter.HelloRequest{Name: name}); err != nil {
			return err
		}
		reply, err := stream.Recv()
		if err := r.wantHello(reply, err, name, uint32(index)); err != nil {
			return err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("instead of the end: %v", err)
	}
	return r.usable(ctx)
}

func greeterAllTypes(ctx context.Context, r *Run) error {
	for _, value := range golden.Values() {
		reply, err := r.greeter().EchoAll(ctx, value.Message)
		if err != nil {
			r.saw(err)
			return fmt.Errorf("%s: %w", value.Name, err)
		}
		if err := wantMessage(reply, value.Message); err != nil {
			return fmt.Errorf("%s: %w", value.Name, err)
		}
	}
	return nil
}

func greeterError(ctx context.Context, r *Run) error {
	want := peer.Failure{Code: 7, Message: "not for you", Details: []peer.Detail{ErrorInfo}}
	_, err := r.greeter().Fail(ctx, &greeter.FailRequest{
		Code: want.Code, Message: want.Message,
		Details: []*anypb.Any{{TypeUrl: ErrorInfo.TypeURL, Value: ErrorInfo.Value}},
	})
	r.saw(err)
	if err := r.wantFailure(err, want); err != nil {
		return err
	}
	return r.usable(ctx)
}

func greeterErrorAfterValues(ctx context.Context, r *Run) error {
	stream, err := r.greeter().ListHellos(ctx, &greeter.ListHellosRequest{
		Name: "Ada", Count: 2, Fail: &greeter.FailRequest{Code: 10, Message: "after two"},
	})
	if err != nil {
		return err
	}
	for index := range uint32(2) {
		reply, err := stream.Recv()
		if err := r.wantHello(reply, err, "Ada", index); err != nil {
			return err
		}
	}
	_, err = stream.Recv()
	r.saw(err)
	if err := r.wantFailure(err, peer.Failure{Code: 10, Message: "after two"}); err != nil {
		return err
	}
	return r.usable(ctx)
}

func greeterUnknown(ctx context.Context, r *Run) error {
	_, err := r.invoke(ctx, "/interop.v1.Greeter/Missing", nil)
	r.saw(err)
	if err == nil || r.Class != "rpc" {
		return fmt.Errorf("not an rpc error: %v", err)
	}
	if r.ExpectUnknown != 0 && *r.Code != r.ExpectUnknown {
		return fmt.Errorf("code %d instead of %d", *r.Code, r.ExpectUnknown)
	}
	return r.usable(ctx)
}

func greeterCancelUnary(ctx context.Context, r *Run) error {
	canceled, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := r.greeter().SayHello(canceled, &greeter.HelloRequest{Name: "Ada", Hang: true})
		done <- err
	}()
	if err := r.Ready(ctx, r.Scenario); err != nil {
		return err
	}
	cancel()
	return r.wantCanceled(ctx, <-done)
}

// wantCanceled demands a canceled call and what must follow.
func (r *Run) wantCanceled(ctx context.Context, err error) error {
	if err := r.want(err, canceledClass); err != nil {
		return err
	}
	return r.afterCancel(ctx)
}

func greeterCancelServerStream(ctx context.Context, r *Run) error {
	canceled, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.greeter().ListHellos(canceled, &greeter.ListHellosRequest{Name: "Ada", Count: 1, Hang: true})
	if err != nil {
		return err
	}
	reply, err := stream.Recv()
	if err := r.wantHello(reply, err, "Ada", 0); err != nil {
		return err
	}
	if err := r.Ready(ctx, r.Scenario); err != nil {
		return err
	}
	cancel()
	_, err = stream.Recv()
	return r.wantCanceled(ctx, err)
}

func greeterCancelClientStream(ctx context.Context, r *Run) error {
	canceled, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.greeter().CollectHellos(canceled)
	if err != nil {
		return err
	}
	if err := stream.Send(&greeter.HelloRequest{Name: "Ada"}); err != nil {
		return err
	}
	if err := r.Ready(ctx, r.Scenario); err != nil {
		return err
	}
	cancel()
	<-stream.Context().Done()
	_, err = stream.CloseAndRecv()
	return r.wantCanceled(ctx, err)
}

func greeterCancelBidi(ctx context.Context, r *Run) error {
	canceled, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.greeter().Chat(canceled)
	if err != nil {
		return err
	}
	if err := stream.Send(&greeter.HelloRequest{Name: "Ada"}); err != nil {
		return err
	}
	reply, err := stream.Recv()
	if err := r.wantHello(reply, err, "Ada", 0); err != nil {
		return err
	}
	if err := r.Ready(ctx, r.Scenario); err != nil {
		return err
	}
	cancel()
	_, err = stream.Recv()
	return r.wantCanceled(ctx, err)
}

func greeterDeadline(ctx context.Context, r *Run) error {
	short, cancel := context.WithTimeout(ctx, 150*time.Millisecond)
	defer cancel()
	_, err := r.greeter().SayHello(short, &greeter.HelloRequest{Name: "Ada", Hang: true})
	if err := r.want(err, deadlineClass); err != nil {
		return err
	}
	return r.afterCancel(ctx)
}
