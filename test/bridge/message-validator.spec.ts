import { Transform, Type } from 'class-transformer';
import { IsInt, IsOptional, IsString, MinLength, ValidateNested } from 'class-validator';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { loadMessageValidator } from '../../lib/bridge/message-validator.js';

class Person {
  @IsString() @MinLength(2) name!: string;
  @IsInt() age!: number;
}

afterEach(() => {
  vi.doUnmock('class-validator');
  vi.resetModules();
});

describe('loadMessageValidator', () => {
  it('makes instances, and does not touch what it is given', async () => {
    const validate = await loadMessageValidator('rpc', { type: Person });
    const given = { name: 'Ada', age: 36, extra: 1 };
    const made = validate(given);
    expect(made).toBeInstanceOf(Person);
    expect(made).toEqual(given);
    expect(given).not.toBeInstanceOf(Person);
  });

  it('throws code 3 with every rule that is broken', async () => {
    const validate = await loadMessageValidator('rpc', { type: Person });
    expect(() => validate({ name: 5, age: 'x' })).toThrow(
      expect.objectContaining({
        code: 3,
        message:
          'name must be longer than or equal to 2 characters; name must be a string; age must be an integer number',
      }),
    );
  });

  it('throws code 3 for a value so deep that the stack does not hold it', async () => {
    class Node {
      @IsOptional() @ValidateNested() @Type(() => Node) child?: Node;
    }
    const validate = await loadMessageValidator('rpc', { type: Node });
    const nested = (depth: number): unknown =>
      JSON.parse(`${'{"child":'.repeat(depth)}{}${'}'.repeat(depth)}`);
    expect(validate(nested(100))).toBeInstanceOf(Node);
    expect(() => validate(nested(6000))).toThrow(
      expect.objectContaining({ code: 3, message: 'message of "rpc" is nested too deep' }),
    );
  });

  it('passes on what a class throws by mistake, RangeErrors too', async () => {
    class Broken {
      @Transform(() => {
        throw new RangeError('any');
      })
      name!: string;
    }
    const validate = await loadMessageValidator('rpc', { type: Broken });
    expect(() => validate({ name: {} })).toThrow(new RangeError('any'));
  });

  it('lets a class without rules pass, as the ValidationPipe of Nest does, unless told otherwise', async () => {
    class Anything {}
    const validate = await loadMessageValidator('rpc', { type: Anything });
    expect(validate({ a: 1 })).toBeInstanceOf(Anything);
    const strict = await loadMessageValidator('rpc', {
      type: Anything,
      validation: { forbidUnknownValues: true },
    });
    expect(() => strict({ a: 1 })).toThrow('an unknown value was passed to the validate function');
  });

  it('says what to install where a package is missing', async () => {
    vi.doMock('class-validator', () => {
      throw new Error('Cannot find package');
    });
    const fresh = await import('../../lib/bridge/message-validator.js?fresh' as string);
    const { loadMessageValidator: load } = fresh as { loadMessageValidator: typeof loadMessageValidator };
    await expect(load('rpc', { type: Person })).rejects.toThrow(
      '@DrpcStream with a class needs class-validator and class-transformer: npm install class-validator class-transformer',
    );
  });
});
