// The path lies below storj.io/drpc, which the fork still calls itself, because windows are an internal option there.
// The fork itself comes in by build.sh.
module storj.io/drpc/interop

go 1.26.0

require (
	google.golang.org/grpc v1.57.2
	google.golang.org/protobuf v1.36.12
	interop.test/storj v0.0.0
	storj.io/drpc v1.0.0
)

replace interop.test/storj => ../storj
