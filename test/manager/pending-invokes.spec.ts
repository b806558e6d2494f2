import { describe, expect, it } from 'vitest';
import { ProtocolError } from '../../lib/errors/drpc-error.js';
import { InvokeStep, PendingInvokes } from '../../lib/manager/pending-invokes.js';
import { encodeMetadata, ENTRY_OVERHEAD } from '../../lib/metadata/metadata.js';
import { BufferPool } from '../../lib/wire/buffer-pool.js';
import { FrameHeader } from '../../lib/wire/frame.js';
import { Kind } from '../../lib/wire/kind.js';
import { frame, invoke, part } from '../helpers/frames.js';

const METADATA = encodeMetadata({ key: 'value' });

class Rig {
  readonly pool = new BufferPool();
  readonly pending: PendingInvokes;

  constructor(maxMetadataSize = 300, maxNameSize = 20) {
    this.pending = new PendingInvokes(this.pool, maxMetadataSize, maxNameSize);
  }

  /** Handles a frame; answers the step, and of a complete Invoke its name and metadata. */
  handle(bytes: Buffer): string {
    const header = new FrameHeader();
    const start = header.parse(bytes, 0, bytes.length);
    const step = this.pending.handle(header, bytes, start, bytes.length);
    if (step !== InvokeStep.Complete) return InvokeStep[step];
    return `${this.pending.rpc} ${JSON.stringify(this.pending.metadata ?? null)}`;
  }

  refuse(bytes: Buffer): void {
    const header = new FrameHeader();
    header.parse(bytes, 0, bytes.length);
    this.pending.refuse(header.streamId, header.kind === (Kind.Invoke as number) && header.done);
  }

  get left(): [entries: number, lent: number] {
    return [this.pending.size, this.pool.usage.lent];
  }
}

describe('PendingInvokes', () => {
  it('remembers nothing of an Invoke in one frame', () => {
    const rig = new Rig();
    expect(rig.handle(invoke(1, '/rpc'))).toBe('/rpc null');
    expect(rig.left).toEqual([0, 0]);
  });

  it('keeps metadata for its Invoke, and forgets it then', () => {
    const rig = new Rig();
    expect(rig.handle(frame(Kind.InvokeMetadata, 1, 1, METADATA))).toBe('Wait');
    expect([rig.pending.has(1), rig.pending.has(2)]).toEqual([true, false]);
    expect(rig.handle(invoke(1, '/rpc', 2))).toBe('/rpc {"key":"value"}');
    expect(rig.left).toEqual([0, 0]);
  });

  it('puts metadata and name together of many frames, of several streams at once', () => {
    const rig = new Rig();
    const steps = [
      part(Kind.InvokeMetadata, 7, 1, METADATA.subarray(0, 4)),
      part(Kind.Invoke, 3, 1, '/th'),
      frame(Kind.InvokeMetadata, 7, 1, METADATA.subarray(4)),
      frame(Kind.InvokeMetadata, 5, 1, METADATA),
      part(Kind.Invoke, 7, 2, '/sev'),
      frame(Kind.Invoke, 3, 1, 'ree'),
      frame(Kind.Invoke, 7, 2, 'en'),
      invoke(5, '/five', 9),
    ].map((bytes) => rig.handle(bytes));
    expect(steps.filter((step) => step !== 'Wait')).toEqual([
      '/three null',
      '/seven {"key":"value"}',
      '/five {"key":"value"}',
    ]);
    expect(rig.left).toEqual([0, 0]);
  });

  it('takes the last of several metadata', () => {
    const rig = new Rig();
    rig.handle(frame(Kind.InvokeMetadata, 1, 1, METADATA));
    rig.handle(frame(Kind.InvokeMetadata, 1, 2, encodeMetadata({ key: 'other' })));
    expect(rig.handle(invoke(1, '/rpc', 3))).toBe('/rpc {"key":"other"}');
  });

  it('takes empty metadata for none, and an empty name for a name', () => {
    const rig = new Rig();
    rig.handle(frame(Kind.InvokeMetadata, 1, 1));
    expect(rig.handle(frame(Kind.Invoke, 1, 2))).toBe(' {}');
  });

  it.each<[string, Buffer[]]>([
    ['metadata that can not be decoded', [frame(Kind.InvokeMetadata, 1, 1, 'nonsense')]],
    ['ids that fall', [frame(Kind.InvokeMetadata, 1, 5), invoke(1, '/rpc', 4)]],
    ['message id 0', [invoke(1, '/rpc', 0)]],
    ['message id 0 in metadata', [frame(Kind.InvokeMetadata, 1, 0)]],
    ['a kind that changes in the middle', [part(Kind.InvokeMetadata, 1, 1, 'x'), invoke(1, '/rpc', 1)]],
  ])('refuses %s', (_what, frames) => {
    const rig = new Rig();
    expect(() => frames.forEach((bytes) => rig.handle(bytes))).toThrow(ProtocolError);
  });

  describe('its bounds', () => {
    it('are checked on the announced size, over all frames of a packet', () => {
      const rig = new Rig(100, 20);
      expect(rig.handle(invoke(1, '/'.repeat(20)))).toBe(`${'/'.repeat(20)} null`);
      expect(rig.handle(invoke(2, '/'.repeat(21)))).toBe('NameTooLong');
      rig.handle(part(Kind.Invoke, 3, 1, '/'.repeat(15)));
      expect(rig.handle(part(Kind.Invoke, 3, 1, '/'.repeat(6)))).toBe('NameTooLong');
      expect(rig.handle(part(Kind.InvokeMetadata, 4, 1, Buffer.alloc(101)))).toBe('MetadataTooLarge');
      rig.handle(part(Kind.InvokeMetadata, 5, 1, Buffer.alloc(60)));
      expect(rig.handle(part(Kind.InvokeMetadata, 5, 1, Buffer.alloc(41)))).toBe('MetadataTooLarge');
    });

    it('count each entry of metadata with what it costs in memory', () => {
      const entry = encodeMetadata({ k: '' });
      const rig = new Rig(3 * (entry.length + ENTRY_OVERHEAD));
      expect(rig.handle(frame(Kind.InvokeMetadata, 1, 1, Buffer.concat([entry, entry, entry])))).toBe('Wait');
      const four = Buffer.concat([entry, entry, entry, entry]);
      expect(rig.handle(frame(Kind.InvokeMetadata, 2, 1, four))).toBe('TooManyEntries');
      expect(rig.pending.refusedSize).toBe(4 * (entry.length + ENTRY_OVERHEAD));
      // Put together of parts, it is in a buffer of the pool.
      rig.handle(part(Kind.InvokeMetadata, 3, 1, four.subarray(0, 9)));
      const rest = frame(Kind.InvokeMetadata, 3, 1, four.subarray(9));
      expect(rig.handle(rest)).toBe('TooManyEntries');
      rig.refuse(rest);
      expect(rig.left).toEqual([3, 0]);
    });

    it('swallow the rest of what was refused, and nothing of others', () => {
      const rig = new Rig(100, 20);
      const tooLarge = part(Kind.InvokeMetadata, 4, 1, Buffer.alloc(101));
      rig.handle(tooLarge);
      rig.refuse(tooLarge);
      expect(rig.handle(frame(Kind.InvokeMetadata, 4, 1, Buffer.alloc(500)))).toBe('Wait');
      expect(rig.handle(part(Kind.Invoke, 4, 2, '/'.repeat(100)))).toBe('Wait');
      expect(rig.handle(invoke(6, '/other'))).toBe('/other null');
      expect(rig.pending.has(4)).toBe(true);
      expect(rig.handle(frame(Kind.Invoke, 4, 2, 'end'))).toBe('Wait');
      expect(rig.left).toEqual([0, 0]);
    });

    it('end the connection when more than 1,000 refused ones never end', () => {
      const rig = new Rig();
      const refuse = (id: number): void => rig.refuse(part(Kind.InvokeMetadata, id, 1, ''));
      for (let id = 1; id <= 1000; id++) refuse(id);
      expect(() => refuse(1001)).toThrow(ProtocolError);
    });

    it('count a refused one once, however often it is refused', () => {
      const rig = new Rig();
      for (let i = 0; i < 3000; i++) {
        rig.refuse(part(Kind.InvokeMetadata, 1, 1, ''));
        rig.pending.drop(1);
      }
      for (let i = 0; i < 3000; i++) rig.refuse(part(Kind.InvokeMetadata, 2, 1, ''));
      expect(rig.pending.size).toBe(1);
    });
  });

  describe('drop', () => {
    it('forgets an id and returns its memory; harmless when it is not there', () => {
      const rig = new Rig();
      rig.handle(part(Kind.InvokeMetadata, 1, 1, METADATA.subarray(0, 4)));
      expect(rig.left).toEqual([1, 1]);
      rig.pending.drop(1);
      rig.pending.drop(1);
      expect(rig.left).toEqual([0, 0]);
    });
  });

  describe('what it holds', () => {
    const SIZE = METADATA.length + ENTRY_OVERHEAD;

    it('is the metadata and what is unfinished, until the Invoke is complete', () => {
      const rig = new Rig();
      const held = (bytes: Buffer): number => {
        rig.handle(bytes);
        return rig.pending.heldBytes;
      };
      expect([
        held(part(Kind.InvokeMetadata, 1, 1, METADATA.subarray(0, 4))),
        held(frame(Kind.InvokeMetadata, 1, 1, METADATA.subarray(4))),
        held(part(Kind.Invoke, 1, 2, '/half')),
        held(frame(Kind.InvokeMetadata, 2, 1, METADATA)),
        held(frame(Kind.InvokeMetadata, 2, 2, METADATA)),
        held(part(Kind.InvokeMetadata, 3, 1, 'x')),
      ]).toEqual([4, SIZE, SIZE + 5, 2 * SIZE + 5, 2 * SIZE + 5, 2 * SIZE + 6]);
      expect(rig.pending.greatest).toEqual({ id: 1, heldBytes: SIZE + 5 });
      expect([held(invoke(1, '/half', 2)), rig.pending.metadataSize]).toEqual([SIZE + 1, SIZE]);
      expect([held(invoke(4, '/other')), rig.pending.metadataSize]).toEqual([SIZE + 1, 0]);
    });

    it('is freed when an id is refused or dropped', () => {
      const rig = new Rig();
      for (const id of [1, 2]) rig.handle(frame(Kind.InvokeMetadata, id, 1, METADATA));
      rig.refuse(frame(Kind.InvokeMetadata, 1, 2, ''));
      expect(rig.pending.heldBytes).toBe(SIZE);
      rig.pending.drop(1);
      rig.pending.drop(2);
      expect([rig.pending.heldBytes, rig.pending.greatest]).toEqual([0, undefined]);
    });
  });

  it('forgets everything on clear', () => {
    const rig = new Rig();
    for (let id = 1; id <= 10; id++) rig.handle(part(Kind.Invoke, id, 1, '/half'));
    rig.pending.clear();
    expect([...rig.left, rig.pending.heldBytes]).toEqual([0, 0, 0]);
  });
});
