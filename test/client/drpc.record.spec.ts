import { bytesEncoding, DrpcRecord, DrpcRecordBuilder, type Encoding } from 'nestjs-drpc';
import { describe, expect, it } from 'vitest';

describe('DrpcRecord', () => {
  it('holds a payload and what its call brings along', () => {
    expect(new DrpcRecord([1])).toMatchObject({ data: [1], options: {} });
    expect(new DrpcRecord(undefined, { timeout: 5 })).toMatchObject({
      data: undefined,
      options: { timeout: 5 },
    });
  });
});

describe('DrpcRecordBuilder', () => {
  it('builds a record step by step', () => {
    const { signal } = new AbortController();
    const record = new DrpcRecordBuilder({ a: 1 })
      .setMetadata({ tenant: 'x' })
      .setTimeout(500)
      .setSignal(signal)
      .setEncoding('bytes')
      .build();
    expect(record).toBeInstanceOf(DrpcRecord);
    expect(record.data).toEqual({ a: 1 });
    expect(record.options).toEqual({ metadata: { tenant: 'x' }, timeout: 500, signal, encoding: 'bytes' });
  });

  it('takes the last word for each part', () => {
    const record = new DrpcRecordBuilder<number>()
      .setData(1)
      .setData(2)
      .setTimeout(1)
      .setTimeout(2)
      .setEncoding(bytesEncoding as Encoding)
      .build();
    expect(record.data).toBe(2);
    expect(record.options).toEqual({ timeout: 2, encoding: bytesEncoding });
  });

  it('may go on after a record was built, which stays as it is', () => {
    const builder = new DrpcRecordBuilder('x').setTimeout(1);
    const record = builder.build();
    builder.setTimeout(2).setMetadata({ a: 'b' });
    expect(record.options).toEqual({ timeout: 1 });
  });
});
