// Package golden holds values of AllTypes that between them touch every field.
package golden

import (
	"math"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"interop.test/storj/greeter"
)

// Value is a named value of AllTypes.
type Value struct {
	Name    string
	Message *greeter.AllTypes
}

// Values returns the values, always the same.
func Values() []Value {
	return []Value{
		{"empty", &greeter.AllTypes{}},
		{"scalars", &greeter.AllTypes{
			FDouble: 1.5, FFloat: -2.25, FInt32: -3, FInt64: -4, FUint32: 5, FUint64: 6, FSint32: -7, FSint64: -8,
			FFixed32: 9, FFixed64: 10, FSfixed32: -11, FSfixed64: -12, FBool: true, FString: "grüße 👋",
			FBytes: []byte{0, 1, 127, 128, 255}, FColor: greeter.Color_COLOR_GREEN,
			FNested: &greeter.Nested{Name: "one", Number: 1, Inner: greeter.Nested_INNER_ONE,
				Child: &greeter.Nested{Name: "two", Number: 2}},
			Renamed: "renamed",
		}},
		{"maximum", &greeter.AllTypes{
			FDouble: math.MaxFloat64, FFloat: math.MaxFloat32, FInt32: math.MaxInt32, FInt64: math.MaxInt64,
			FUint32: math.MaxUint32, FUint64: math.MaxUint64, FSint32: math.MaxInt32, FSint64: math.MaxInt64,
			FFixed32: math.MaxUint32, FFixed64: math.MaxUint64, FSfixed32: math.MaxInt32, FSfixed64: math.MaxInt64,
		}},
		{"minimum", &greeter.AllTypes{
			FDouble: math.SmallestNonzeroFloat64, FFloat: math.SmallestNonzeroFloat32, FInt32: math.MinInt32,
			FInt64: math.MinInt64, FSint32: math.MinInt32, FSint64: math.MinInt64, FSfixed32: math.MinInt32,
			FSfixed64: math.MinInt64, FColor: greeter.Color_COLOR_NEGATIVE,
		}},
		{"above 2^53", &greeter.AllTypes{
			FInt64: 1<<53 + 1, FUint64: 1<<63 + 1, FSint64: -(1<<53 + 1), FFixed64: 1<<53 + 1, FSfixed64: -(1<<53 + 1),
		}},
		{"not finite", &greeter.AllTypes{
			FDouble: math.Inf(1), FFloat: float32(math.Inf(-1)), RDouble: []float64{math.NaN(), math.Copysign(0, -1)},
		}},
		{"unknown enum number", &greeter.AllTypes{FColor: 42, RColor: []greeter.Color{1, 42}}},
		{"optional fields set to their defaults", &greeter.AllTypes{
			OInt32: proto.Int32(0), OInt64: proto.Int64(0), OString: proto.String(""), OBytes: []byte{},
			OBool: proto.Bool(false), OColor: greeter.Color_COLOR_UNSPECIFIED.Enum(),
		}},
		{"optional fields set", &greeter.AllTypes{
			OInt32: proto.Int32(1), OInt64: proto.Int64(-1), OString: proto.String("s"), OBytes: []byte{1},
			OBool: proto.Bool(true), OColor: greeter.Color_COLOR_RED.Enum(),
		}},
		{"repeated", &greeter.AllTypes{
			RInt32: []int32{0, 1, -1}, RInt64: []int64{0, math.MaxInt64, math.MinInt64},
			RUint64: []uint64{0, math.MaxUint64}, RSint64: []int64{0, -1, math.MinInt64},
			RFixed64: []uint64{0, math.MaxUint64}, RDouble: []float64{0, 0.1, -1e300}, RBool: []bool{true, false, true},
			RString: []string{"", "a", "ü"}, RBytes: [][]byte{{}, {0}, {255, 254}},
			RColor:    []greeter.Color{greeter.Color_COLOR_RED, greeter.Color_COLOR_UNSPECIFIED, greeter.Color_COLOR_NEGATIVE},
			RNested:   []*greeter.Nested{{}, {Name: "n"}},
			RUnpacked: []int32{1, 2, 3},
		}},
		{"maps", &greeter.AllTypes{
			MStringString: map[string]string{"": "", "a": "b", "ü": "ö"},
			MStringInt64:  map[string]int64{"max": math.MaxInt64, "zero": 0},
			MInt32String:  map[int32]string{-1: "minus", 0: "zero", 7: "seven"},
			MUint64Bytes:  map[uint64][]byte{0: {}, math.MaxUint64: {1, 2}},
			MBoolColor:    map[bool]greeter.Color{false: greeter.Color_COLOR_UNSPECIFIED, true: greeter.Color_COLOR_RED},
			MStringNested: map[string]*greeter.Nested{"empty": {}, "full": {Name: "n", Number: -5}},
		}},
		{"oneof string, empty", &greeter.AllTypes{Choice: &greeter.AllTypes_CString{}}},
		{"oneof int64", &greeter.AllTypes{Choice: &greeter.AllTypes_CInt64{CInt64: math.MinInt64}}},
		{"oneof bytes", &greeter.AllTypes{Choice: &greeter.AllTypes_CBytes{CBytes: []byte{1, 2, 3}}}},
		{"oneof enum, zero", &greeter.AllTypes{Choice: &greeter.AllTypes_CColor{}}},
		{"oneof message", &greeter.AllTypes{Choice: &greeter.AllTypes_CNested{CNested: &greeter.Nested{Name: "n"}}}},
		{"oneof Empty", &greeter.AllTypes{Choice: &greeter.AllTypes_CEmpty{CEmpty: &emptypb.Empty{}}}},
		{"well-known types", &greeter.AllTypes{
			WTimestamp: timestamppb.New(time.Date(2026, 2, 3, 4, 5, 6, 789000000, time.UTC)),
			WDuration:  durationpb.New(90*time.Second + 5*time.Nanosecond),
			WStruct: &structpb.Struct{Fields: map[string]*structpb.Value{
				"list":   structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewNumberValue(1), structpb.NewNullValue()}}),
				"number": structpb.NewNumberValue(-1.5),
				"object": structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewBoolValue(true)}}),
				"text":   structpb.NewStringValue("t"),
			}},
			WValue: structpb.NewStringValue("value"),
			WList:  &structpb.ListValue{Values: []*structpb.Value{structpb.NewStringValue("x"), structpb.NewBoolValue(false)}},
			WAny:   wrap(&greeter.Nested{Name: "inside any", Number: 12}),
			WMask:  &fieldmaskpb.FieldMask{Paths: []string{"f_int32", "f_nested.name"}},
			WEmpty: &emptypb.Empty{},
			RTimestamp: []*timestamppb.Timestamp{
				timestamppb.New(time.Unix(0, 0)), timestamppb.New(time.Unix(-1, 1)),
			},
		}},
		{"negative duration and a time before 1970", &greeter.AllTypes{
			WDuration:  durationpb.New(-1500 * time.Millisecond),
			WTimestamp: timestamppb.New(time.Date(1969, 12, 31, 23, 59, 59, 500000000, time.UTC)),
		}},
		{"wrappers with values", &greeter.AllTypes{
			WDouble: wrapperspb.Double(0.5), WFloat: wrapperspb.Float(-0.5), WInt64: wrapperspb.Int64(math.MinInt64),
			WUint64: wrapperspb.UInt64(math.MaxUint64), WInt32: wrapperspb.Int32(-1), WUint32: wrapperspb.UInt32(1),
			WBool: wrapperspb.Bool(true), WString: wrapperspb.String("w"), WBytes: wrapperspb.Bytes([]byte{9}),
		}},
		{"wrappers with defaults", &greeter.AllTypes{
			WDouble: wrapperspb.Double(0), WInt64: wrapperspb.Int64(0), WBool: wrapperspb.Bool(false),
			WString: wrapperspb.String(""), WBytes: wrapperspb.Bytes(nil),
		}},
	}
}

func wrap(message proto.Message) *anypb.Any {
	wrapped, err := anypb.New(message)
	if err != nil {
		panic(err)
	}
	return wrapped
}
