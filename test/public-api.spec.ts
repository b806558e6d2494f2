import { describe, expect, it } from 'vitest';
import * as core from '../lib/core.js';
import * as index from '../lib/index.js';
import * as opentelemetry from '../lib/opentelemetry.js';
import * as protobuf from '../lib/protobuf.js';
import * as testing from '../lib/testing.js';

/** What users can import, types aside. Growth is a decision: whoever adds a name adds it here. */
const NAMES = {
  '.': `CanceledError ClosedError DRPC_TRANSPORT DeadlineError DrpcClient DrpcCode DrpcContext DrpcError
    DrpcException DrpcHealthIndicator DrpcMetadata DrpcMethod DrpcPeer DrpcRecord DrpcRecordBuilder DrpcServer
    DrpcService DrpcSignal DrpcStatus DrpcStream MessageSizeError bytesEncoding drpcClient jsonEncoding`,
  './core': `CanceledError ClosedError Conn DeadlineError DrpcCode DrpcError EofError FrameHeader FrameReader Kind
    Manager MemoryBudget MessageSizeError PeerConn PeerServer ProtocolError RpcStream SilentPeerError Stream
    bytesEncoding encodeFrame jsonEncoding parseFrame serveOne systemClock unknownRpc`,
  './protobuf': `BadRequestSchema DebugInfoSchema ErrorInfoSchema HelpSchema LocalizedMessageSchema
    PreconditionFailureSchema QuotaFailureSchema RequestInfoSchema ResourceInfoSchema RetryInfoSchema badRequest
    decodeDetails encodeDetail errorInfo findDetails preconditionFailure quotaFailure retryInfo`,
  './opentelemetry': 'instrumentClient instrumentServer telemetryInterceptor',
  './testing': 'createInMemoryNetwork createInMemoryPair',
};

describe('the public doors', () => {
  it.each([
    ['.', index],
    ['./core', core],
    ['./opentelemetry', opentelemetry],
    ['./protobuf', protobuf],
    ['./testing', testing],
  ] as const)('%s exports just these names', (door, exports) => {
    expect(Object.keys(exports).sort()).toEqual(NAMES[door].split(/\s+/));
  });
});
