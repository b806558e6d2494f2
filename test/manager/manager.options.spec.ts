import { describe, expect, it } from 'vitest';
import { systemClock } from '../../lib/clock/clock.js';
import { resolveManagerOptions, type ManagerOptions } from '../../lib/manager/manager.options.js';
import { VirtualClock } from '../helpers/virtual-clock.js';

const KIB = 1024;
const MIB = 1024 * KIB;

const DEFAULTS = {
  clock: systemClock,
  errorForm: 'storj',
  sendWindow: 0,
  recvWindow: 0,
  splitSize: 64 * KIB,
  maximumBufferSize: 4 * MIB,
  maxSendSize: 4 * MIB,
  maxReceiveSize: 4 * MIB,
  maxMetadataSize: 64 * KIB,
  maxNameSize: 4 * KIB,
  maxStreams: 1000,
  recvQueueMessages: 256,
  recvQueueSize: 2 * MIB,
  maxReceivedBytes: 64 * MIB,
  sendQueueSize: 16 * MIB,
  maxQueuedBytes: 64 * MIB,
  writerBufferSize: MIB,
  bulkSize: 128 * KIB,
  writeSize: 128 * KIB,
  controlBufferSize: MIB,
  maxUnfinishedMessages: 8,
  frameTimeout: 30_000,
  stallTimeout: 30_000,
  isFedByHand: false,
};

describe('resolveManagerOptions', () => {
  it('has the defaults of the documentation', () => {
    expect(resolveManagerOptions({ role: 'server' })).toEqual(DEFAULTS);
  });

  it.each(Object.keys(DEFAULTS))('takes an explicit undefined of %s as the default', (name) => {
    const options = { role: 'server', [name]: undefined } as ManagerOptions;
    expect(resolveManagerOptions(options)).toEqual(DEFAULTS);
  });

  it.each([
    ['clock', new VirtualClock()],
    ['errorForm', 'status'],
    ['sendWindow', 100_000],
    ['recvWindow', 100_000],
    ['splitSize', 5],
    ['maximumBufferSize', 5],
    ['maxSendSize', 5],
    ['maxReceiveSize', 5],
    ['maxMetadataSize', 0],
    ['maxNameSize', 0],
    ['maxStreams', 0],
    ['recvQueueMessages', 1],
    ['recvQueueSize', 1],
    ['maxReceivedBytes', 0],
    ['sendQueueSize', 0],
    ['maxQueuedBytes', 0],
    ['writerBufferSize', 1],
    ['bulkSize', 1],
    ['writeSize', 1],
    ['controlBufferSize', 0],
    ['maxUnfinishedMessages', 1],
    ['frameTimeout', 1],
    ['stallTimeout', 1],
    ['isFedByHand', true],
  ] as const)('takes %s as it is given, and no other option by it', (name, value) => {
    const options = { role: 'server', [name]: value } as ManagerOptions;
    expect(resolveManagerOptions(options)).toEqual({ ...DEFAULTS, [name]: value });
  });

  it('takes a split size of 0 as the default, and never splits with a negative one, as the reference', () => {
    expect(resolveManagerOptions({ role: 'server', splitSize: 0 }).splitSize).toBe(64 * KIB);
    expect(resolveManagerOptions({ role: 'server', splitSize: -1 }).splitSize).toBe(Infinity);
  });

  it.each<[keyof ManagerOptions, number, string]>([
    ['sendWindow', -1, 'sendWindow is -1: it must be 0 or a whole number of at least 1024'],
    ['sendWindow', 1000, 'sendWindow is 1000: it must be 0 or a whole number of at least 1024'],
    ['recvWindow', 1023, 'recvWindow is 1023: it must be 0 or a whole number of at least 1024'],
    ['recvWindow', NaN, 'recvWindow is NaN'],
    ['splitSize', NaN, 'splitSize is NaN: it must be a whole number'],
    ['splitSize', 1.5, 'splitSize is 1.5: it must be a whole number'],
    ['maxSendSize', -1, 'maxSendSize is -1: it must be a number of at least 0'],
    ['maxStreams', NaN, 'maxStreams is NaN: it must be a number of at least 0'],
    ['recvQueueMessages', 0, 'recvQueueMessages is 0: it must be a number of at least 1'],
    ['recvQueueSize', 0, 'recvQueueSize is 0: it must be a number of at least 1'],
    ['writerBufferSize', 0, 'writerBufferSize is 0: it must be a number of at least 1'],
    ['bulkSize', 0, 'bulkSize is 0: it must be a number of at least 1'],
    ['writeSize', 0, 'writeSize is 0: it must be a number of at least 1'],
    ['controlBufferSize', -1, 'controlBufferSize is -1: it must be a number of at least 0'],
    ['maxUnfinishedMessages', 0, 'maxUnfinishedMessages is 0: it must be a number of at least 1'],
    ['frameTimeout', -5, 'frameTimeout is -5: it must be a number of at least 0'],
  ])('refuses %s of %s, and says why', (name, value, message) => {
    const options = { role: 'server', [name]: value } as ManagerOptions;
    expect(() => resolveManagerOptions(options)).toThrow(RangeError);
    expect(() => resolveManagerOptions(options)).toThrow(message);
  });

  it('lets bounds be lifted', () => {
    const options: ManagerOptions = { role: 'server', maxStreams: Infinity, maxReceivedBytes: Infinity };
    expect(resolveManagerOptions(options)).toMatchObject({
      maxStreams: Infinity,
      maxReceivedBytes: Infinity,
    });
  });
});
