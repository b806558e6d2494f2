// Command goldens writes values of AllTypes as protobuf bytes and as JSON to stdout.
package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"interop.test/storj/fixture"
	"interop.test/storj/golden"
	"interop.test/storj/greeter"
)

type goldens struct {
	Source  string `json:"source"`
	Message string `json:"message"`
	// DescriptorSet is a google.protobuf.FileDescriptorSet of greeter.proto and all it imports, in hex.
	DescriptorSet string  `json:"descriptorSet"`
	Values        []value `json:"values"`
}

type value struct {
	Name string          `json:"name"`
	Hex  string          `json:"hex"`
	JSON json.RawMessage `json:"json"`
}

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write() error {
	set := &descriptorpb.FileDescriptorSet{}
	addFile(set, map[string]bool{}, greeter.File_greeter_proto)
	descriptors, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		return err
	}
	g := goldens{
		Source:        fixture.Version("google.golang.org/protobuf"),
		Message:       string((&greeter.AllTypes{}).ProtoReflect().Descriptor().FullName()),
		DescriptorSet: hex.EncodeToString(descriptors),
	}
	for _, v := range golden.Values() {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(v.Message)
		if err != nil {
			return err
		}
		text, err := protojson.Marshal(v.Message)
		if err != nil {
			return err
		}
		// protojson varies its white space on purpose.
		var compact bytes.Buffer
		if err := json.Compact(&compact, text); err != nil {
			return err
		}
		g.Values = append(g.Values, value{Name: v.Name, Hex: hex.EncodeToString(data), JSON: compact.Bytes()})
	}
	return fixture.Write(os.Stdout, g)
}

// addFile adds the file after those it imports.
func addFile(set *descriptorpb.FileDescriptorSet, seen map[string]bool, file protoreflect.FileDescriptor) {
	if seen[file.Path()] {
		return
	}
	seen[file.Path()] = true
	for k := range file.Imports().Len() {
		addFile(set, seen, file.Imports().Get(k))
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
}
