// Package vector makes byte vectors with the real codec of storj.io/drpc: what it writes, and what it
// makes of what it reads.
package vector

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"storj.io/drpc/drpcerr"
	"storj.io/drpc/drpcmetadata"
	"storj.io/drpc/drpcwire"

	"interop.test/storj/service"
)

// Varint is a number or, with an Error, bytes that are none.
type Varint struct {
	Name  string `json:"name"`
	Hex   string `json:"hex"`
	Value string `json:"value,omitempty"`
	// Minimal says whether Go writes the value in just these bytes.
	Minimal bool `json:"minimal"`
	// More says that the bytes are the beginning of a number.
	More  bool   `json:"more,omitempty"`
	Error string `json:"error,omitempty"`
}

// Varints returns numbers at the edges of their sizes, and bytes that are read in a special way.
func Varints() []Varint {
	values := []uint64{
		0, 1, 127, 128, 300, 16383, 16384, 1<<21 - 1, 1 << 21, 1<<28 - 1, 1 << 28, 1<<32 - 1, 1<<35 - 1, 1 << 35,
		1 << 42, 1 << 49, 1<<53 - 1, 1 << 53, 1 << 56, 1<<63 - 1, 1 << 63, math.MaxUint64,
	}
	var out []Varint
	for _, value := range values {
		data := drpcwire.AppendVarint(nil, value)
		out = append(out, readVarint(strconv.FormatUint(value, 10), data))
	}
	for name, input := range ordered(
		"one in two bytes", "8100",
		"zero in ten bytes", "80808080808080808000",
		"bits above 63 are dropped", "ffffffffffffffffff7f",
		"bit 64 alone", "80808080808080808002",
		"eleven bytes", "8080808080808080808001",
		"unfinished", "80",
		"nothing", "",
	) {
		out = append(out, readVarint(name, unhex(input)))
	}
	return out
}

func readVarint(name string, data []byte) Varint {
	v := Varint{Name: name, Hex: hex.EncodeToString(data)}
	_, value, ok, err := drpcwire.ReadVarint(data)
	switch {
	case err != nil:
		v.Error = err.Error()
	case !ok:
		v.More = true
	default:
		v.Value = strconv.FormatUint(value, 10)
		v.Minimal = bytes.Equal(drpcwire.AppendVarint(nil, value), data)
	}
	return v
}

// Frame is a frame, or what ParseFrame makes of other bytes.
type Frame struct {
	Name    string `json:"name"`
	Hex     string `json:"hex"`
	Kind    int    `json:"kind"`
	Stream  string `json:"stream"`
	Message string `json:"message"`
	Done    bool   `json:"done"`
	Control bool   `json:"control"`
	Data    string `json:"data"`
	// Rest is what follows the frame, More says that the bytes are the beginning of a frame.
	Rest  string `json:"rest,omitempty"`
	More  bool   `json:"more,omitempty"`
	Error string `json:"error,omitempty"`
}

// Frames returns every kind with every flag, large numbers, and bytes that are read in a special way.
func Frames() []Frame {
	var out []Frame
	add := func(name string, frame drpcwire.Frame) {
		parsed := parseFrame(name, drpcwire.AppendFrame(nil, frame))
		if parsed.More || parsed.Error != "" || parsed.Rest != "" {
			panic(fmt.Sprintf("%s does not come back: %+v", name, parsed))
		}
		out = append(out, parsed)
	}
	kinds := []string{"", "Invoke", "Message", "Error", "Cancel", "Close", "CloseSend", "InvokeMetadata"}
	for kind := 1; kind < len(kinds); kind++ {
		for flags := range 4 {
			done, control := flags&1 != 0, flags&2 != 0
			name := kinds[kind]
			if done {
				name += ", done"
			}
			if control {
				name += ", control"
			}
			add(name, drpcwire.Frame{
				Kind: drpcwire.Kind(kind), ID: drpcwire.ID{Stream: 1, Message: 2}, Done: done, Control: control,
				Data: []byte("data"),
			})
		}
	}
	add("kind 0", drpcwire.Frame{ID: drpcwire.ID{Stream: 1, Message: 1}, Done: true})
	add("kind 8, control", drpcwire.Frame{Kind: 8, ID: drpcwire.ID{Stream: 7}, Done: true, Control: true, Data: unhex("808008")})
	add("kind 63", drpcwire.Frame{Kind: 63, ID: drpcwire.ID{Stream: 1, Message: 1}, Done: true, Data: []byte("x")})
	add("no data", drpcwire.Frame{Kind: drpcwire.KindMessage, ID: drpcwire.ID{Stream: 1, Message: 1}, Done: true})
	for _, n := range []int{127, 128, 300} {
		add(fmt.Sprintf("%d bytes of data", n), drpcwire.Frame{
			Kind: drpcwire.KindMessage, ID: drpcwire.ID{Stream: 1, Message: 1}, Done: true, Data: service.Fill(0, n),
		})
	}
	for _, id := range []uint64{127, 128, 16383, 16384, 1<<32 - 1, 1 << 53, 1<<53 + 1, 1<<63 - 1, 1 << 63, math.MaxUint64} {
		add(fmt.Sprintf("stream and message %d", id), drpcwire.Frame{
			Kind: drpcwire.KindMessage, ID: drpcwire.ID{Stream: id, Message: id}, Done: true, Data: []byte("d"),
		})
	}
	add("rpc name", drpcwire.Frame{
		Kind: drpcwire.KindInvoke, ID: drpcwire.ID{Stream: 1, Message: 1}, Done: true, Data: []byte("/service.Service/Method1"),
	})

	for name, input := range ordered(
		"nothing", "",
		"three bytes", "050102",
		"all but the last byte of data", "0501020568656c6c",
		"half a length", "0501028001"[:8],
		"a frame and the beginning of another", "050102026869"+"0501",
		"numbers longer than they need be", "058100820082006869",
		"stream of eleven bytes", "0580808080808080808080800102",
		"length above what there is", "050102ffffffffffffffffff01",
	) {
		out = append(out, parseFrame(name, unhex(input)))
	}
	return out
}

func parseFrame(name string, data []byte) Frame {
	f := Frame{Name: name, Hex: hex.EncodeToString(data)}
	rest, frame, ok, err := drpcwire.ParseFrame(data)
	switch {
	case err != nil:
		f.Error = err.Error()
	case !ok:
		f.More = true
	default:
		f.Kind, f.Done, f.Control = int(frame.Kind), frame.Done, frame.Control
		f.Stream, f.Message = strconv.FormatUint(frame.ID.Stream, 10), strconv.FormatUint(frame.ID.Message, 10)
		f.Data, f.Rest = hex.EncodeToString(frame.Data), hex.EncodeToString(rest)
	}
	return f
}

// Packet is a packet and the frames it is split into. Data is byte j = j mod 251.
type Packet struct {
	Name   string   `json:"name"`
	Kind   int      `json:"kind"`
	Length int      `json:"length"`
	Split  int      `json:"split"`
	Frames []string `json:"frames"`
}

// Packets returns packets of many lengths, split in many ways.
func Packets() []Packet {
	var out []Packet
	for _, c := range []struct{ length, split int }{
		{0, 5}, {1, 5}, {4, 5}, {5, 5}, {6, 5}, {10, 5}, {11, 5}, {12, 5}, {3, 1}, {300, -1}, {300, 0}, {300, 128},
	} {
		packet := drpcwire.Packet{
			Kind: drpcwire.KindMessage, ID: drpcwire.ID{Stream: 1, Message: 2}, Data: service.Fill(0, c.length),
		}
		v := Packet{
			Name: fmt.Sprintf("%d bytes, split at %d", c.length, c.split), Kind: int(packet.Kind), Length: c.length, Split: c.split,
		}
		_ = drpcwire.SplitN(packet, c.split, func(frame drpcwire.Frame) error {
			v.Frames = append(v.Frames, hex.EncodeToString(drpcwire.AppendFrame(nil, frame)))
			return nil
		})
		out = append(out, v)
	}
	return out
}

// LargePacket is a packet too large to be written out: the header and length of each of its frames.
type LargePacket struct {
	Name    string   `json:"name"`
	Length  int      `json:"length"`
	Split   int      `json:"split"`
	Headers []string `json:"headers"`
	Lengths []int    `json:"lengths"`
}

// LargePackets returns packets around the default split size.
func LargePackets() []LargePacket {
	var out []LargePacket
	for _, c := range []struct{ length, split int }{
		{65535, 0}, {65536, 0}, {65537, 0}, {131072, 0}, {200_000, 0}, {200_000, -1}, {200_000, 100_000},
	} {
		v := LargePacket{
			Name: fmt.Sprintf("%d bytes, split at %d", c.length, c.split), Length: c.length, Split: c.split,
		}
		packet := drpcwire.Packet{
			Kind: drpcwire.KindMessage, ID: drpcwire.ID{Stream: 1, Message: 2}, Data: service.Fill(0, c.length),
		}
		_ = drpcwire.SplitN(packet, c.split, func(frame drpcwire.Frame) error {
			data := drpcwire.AppendFrame(nil, frame)
			v.Headers = append(v.Headers, hex.EncodeToString(data[:len(data)-len(frame.Data)]))
			v.Lengths = append(v.Lengths, len(frame.Data))
			return nil
		})
		out = append(out, v)
	}
	return out
}

// Metadata is encoded metadata and what Decode makes of it.
type Metadata struct {
	Name    string            `json:"name"`
	Hex     string            `json:"hex"`
	Entries map[string]string `json:"entries"`
	// Written says whether Go writes the entries so.
	Written bool   `json:"written"`
	Error   string `json:"error,omitempty"`
}

// Metadatas returns single entries as Go writes them, and bytes that are read in a special way.
func Metadatas() []Metadata {
	var out []Metadata
	for name, pair := range ordered(
		"one entry", "key=value",
		"no value", "key=",
		"no key", "=value",
		"neither", "=",
		"not ASCII", "schlüssel=größe 👋",
		"128 bytes of value", "k="+strings.Repeat("v", 128),
		"20000 bytes of value", "k="+strings.Repeat("v", 20000),
	) {
		key, value, _ := strings.Cut(pair, "=")
		data, err := drpcmetadata.Encode(nil, map[string]string{key: value})
		if err != nil {
			panic(err)
		}
		v := readMetadata(name, data)
		v.Written = true
		out = append(out, v)
	}
	for name, input := range ordered(
		"nothing", "",
		"two entries", "0a060a016112016b"+"0a060a016212016c",
		"the same key twice", "0a060a016112016b"+"0a060a016112016c",
		"value left out", "0a030a0161",
		"key left out", "0a0312016b",
		"value before key", "0a0612016b0a0161",
		"another field in the entry", "0a080a016112016b1800",
		"another field in the message", "0a060a016112016b"+"1000",
		"cut short", "0a060a016112",
		"a length above what there is", "0aff01",
	) {
		out = append(out, readMetadata(name, unhex(input)))
	}
	return out
}

func readMetadata(name string, data []byte) Metadata {
	v := Metadata{Name: name, Hex: hex.EncodeToString(data), Entries: map[string]string{}}
	entries, err := drpcmetadata.Decode(data)
	if err != nil {
		v.Error = err.Error()
	} else if entries != nil {
		v.Entries = entries
	}
	return v
}

// Error is an error payload and what the reader makes of it.
type Error struct {
	Name    string `json:"name"`
	Hex     string `json:"hex"`
	Code    string `json:"code"`
	Message string `json:"message"`
	// Written says whether Go writes the error so.
	Written bool `json:"written"`
}

// Errors returns payloads in the form of a code and a text, and payloads that are too short for it.
func Errors() []Error {
	var out []Error
	for _, c := range []struct {
		code uint64
		text string
	}{
		{0, "no code"}, {0, ""}, {2, "unknown"}, {12, "Unimplemented"}, {16, "größe 👋"}, {1 << 32, "above 32 bits"},
		{1<<53 + 1, "above 2^53"}, {1 << 56, "first byte 1"}, {math.MaxUint64, "all ones"},
		{5, "two\nlines"},
	} {
		v := readError(c.text, drpcwire.MarshalError(drpcerr.WithCode(errors.New(c.text), c.code)))
		v.Written = true
		out = append(out, v)
	}
	for name, input := range ordered("nothing", "", "seven bytes", "00000000000000", "text without a code", hex.EncodeToString([]byte("boom"))) {
		out = append(out, readError(name, unhex(input)))
	}
	return out
}

func readError(name string, data []byte) Error {
	err := drpcwire.UnmarshalError(data)
	return Error{
		Name: name, Hex: hex.EncodeToString(data), Code: strconv.FormatUint(drpcerr.Code(err), 10), Message: err.Error(),
	}
}

// Reading is what the packet reader of a connection makes of a sequence of frames.
type Reading struct {
	Name    string       `json:"name"`
	Limit   int          `json:"limit,omitempty"`
	Hex     string       `json:"hex"`
	Packets []ReadPacket `json:"packets"`
	// Error ends the connection; absent when the bytes just end.
	Error string `json:"error,omitempty"`
}

// ReadPacket is a packet that was read.
type ReadPacket struct {
	Kind    int    `json:"kind"`
	Stream  string `json:"stream"`
	Message string `json:"message"`
	Control bool   `json:"control"`
	Data    string `json:"data"`
}

// Readings returns sequences that show the rules of identifiers and of assembly.
func Readings() []Reading {
	type f = drpcwire.Frame
	id := func(stream, message uint64) drpcwire.ID { return drpcwire.ID{Stream: stream, Message: message} }
	message := func(stream, number uint64, data string, done bool) f {
		return f{Kind: drpcwire.KindMessage, ID: id(stream, number), Data: []byte(data), Done: done}
	}
	var out []Reading
	add := func(name string, limit int, frames ...f) {
		var data []byte
		for _, frame := range frames {
			data = drpcwire.AppendFrame(data, frame)
		}
		out = append(out, read(name, limit, data))
	}
	add("a packet of one frame", 0, message(1, 1, "one", true))
	add("a packet of three frames", 0, message(1, 1, "a", false), message(1, 1, "b", false), message(1, 1, "c", true))
	add("two packets", 0, message(1, 1, "one", true), message(1, 2, "two", true))
	add("message ids may skip", 0, message(1, 1, "one", true), message(1, 9, "two", true))
	add("stream ids may skip", 0, message(1, 1, "one", true), message(5, 1, "two", true))
	add("a higher message discards the unfinished one", 0, message(1, 1, "a", false), message(1, 2, "b", true))
	add("a higher stream discards the unfinished one", 0, message(1, 1, "a", false), message(2, 1, "b", true))
	add("control of any frame is control of the packet", 0,
		f{Kind: drpcwire.KindMessage, ID: id(1, 1), Control: true}, message(1, 1, "b", true))
	add("control of a discarded packet is forgotten", 0,
		f{Kind: drpcwire.KindMessage, ID: id(1, 1), Control: true}, message(1, 2, "b", true))
	add("unknown kinds are packets", 0, f{Kind: 42, ID: id(1, 1), Data: []byte("x"), Done: true})
	add("data of a kind that has none", 0, f{Kind: drpcwire.KindCancel, ID: id(1, 1), Data: []byte("x"), Done: true, Control: true})
	add("stream 0", 0, message(0, 1, "", true))
	add("message 0", 0, message(1, 0, "", true))
	add("message 0 of a higher stream", 0, message(1, 1, "", true), message(2, 0, "", true))
	add("the same message again", 0, message(1, 1, "a", true), message(1, 1, "b", true))
	add("a lower message", 0, message(1, 5, "a", true), message(1, 4, "b", true))
	add("a lower stream", 0, message(2, 1, "a", true), message(1, 2, "b", true))
	add("a lower message while another is unfinished", 0, message(1, 5, "a", false), message(1, 4, "b", true))
	add("another kind in the same packet", 0, message(1, 1, "a", false),
		f{Kind: drpcwire.KindError, ID: id(1, 1), Done: true})
	add("window update of the current stream", 0, message(7, 1, "a", true),
		f{Kind: 8, ID: id(7, 0), Done: true, Control: true, Data: unhex("01")})
	add("a packet at the limit", 100, message(1, 1, strings.Repeat("x", 60), false), message(1, 1, strings.Repeat("y", 40), true))
	add("a packet above the limit", 100, message(1, 1, strings.Repeat("x", 60), false), message(1, 1, strings.Repeat("y", 41), true))
	add("a frame above the limit", 100, message(1, 1, strings.Repeat("x", 200), true))
	out = append(out, read("half a frame at the end", 0, unhex("0501010361")))
	out = append(out, read("a number that is none", 0, unhex("05"+strings.Repeat("80", 10)+"0101")))
	return out
}

func read(name string, limit int, data []byte) Reading {
	r := Reading{Name: name, Limit: limit, Hex: hex.EncodeToString(data), Packets: []ReadPacket{}}
	// One byte at a time: the reader counts bytes it has not parsed yet against its limit, so that what
	// arrives together would matter.
	reader := drpcwire.NewReaderWithOptions(&trickle{data}, drpcwire.ReaderOptions{MaximumBufferSize: limit})
	for {
		packet, err := reader.ReadPacket()
		if errors.Is(err, io.EOF) {
			return r
		}
		if err != nil {
			r.Error = err.Error()
			return r
		}
		r.Packets = append(r.Packets, ReadPacket{
			Kind: int(packet.Kind), Stream: strconv.FormatUint(packet.ID.Stream, 10),
			Message: strconv.FormatUint(packet.ID.Message, 10), Control: packet.Control, Data: hex.EncodeToString(packet.Data),
		})
	}
}

type trickle struct{ data []byte }

func (t *trickle) Read(p []byte) (int, error) {
	if len(t.data) == 0 {
		return 0, io.EOF
	}
	p[0] = t.data[0]
	t.data = t.data[1:]
	return 1, nil
}

// ordered yields pairs of strings in the order they are given.
func ordered(pairs ...string) func(yield func(string, string) bool) {
	return func(yield func(string, string) bool) {
		for k := 0; k < len(pairs); k += 2 {
			if !yield(pairs[k], pairs[k+1]) {
				return
			}
		}
	}
}

func unhex(text string) []byte {
	data, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return data
}
