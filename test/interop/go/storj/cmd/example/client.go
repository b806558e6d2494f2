package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcerr"
	"storj.io/drpc/drpcmanager"
	"storj.io/drpc/drpcmetadata"
)

// call calls a Nest service.
func call(address string) error {
	tcp, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	// A canceled context sends a Cancel then, instead of closing the connection.
	options := drpcconn.Options{Manager: drpcmanager.Options{SoftCancel: true}}
	conn := drpcconn.NewWithOptions(tcp, options)
	defer func() { _ = conn.Close() }()

	ctx := drpcmetadata.Add(context.Background(), "reader", "Ada")

	var book Book
	err = conn.Invoke(ctx, "/library.Books/Find", JSON{}, &Query{Title: "Flatland"}, &book)
	if err != nil {
		return err
	}
	fmt.Println(book.Title, book.Year)

	err = conn.Invoke(ctx, "/library.Books/Find", JSON{}, &Query{Title: "Nothing"}, &book)
	fmt.Println(drpcerr.Code(err), err)

	// An event has no answer: io.EOF says that it was accepted.
	err = conn.Invoke(ctx, "/library.Books/Returned", JSON{}, &Query{Title: "Flatland"}, &book)
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("not accepted: %v", err)
	}

	return list(ctx, conn)
}

// list reads a stream of answers.
func list(ctx context.Context, conn *drpcconn.Conn) error {
	stream, err := conn.NewStream(ctx, "/library.Books/List", JSON{})
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	if err := stream.MsgSend(&Query{}, JSON{}); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		var book Book
		if err := stream.MsgRecv(&book, JSON{}); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		fmt.Println(book.Title)
	}
}
