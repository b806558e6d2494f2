module interop.test/muxstandin

go 1.26.0

require (
	google.golang.org/genproto/googleapis/rpc v0.0.0-20261104224025-d1e00e9f33ab
	google.golang.org/protobuf v1.36.12
	interop.test/storj v0.0.0
	storj.io/drpc v1.0.0
)

require github.com/zeebo/errs v1.2.2 // indirect

replace interop.test/storj => ../storj
