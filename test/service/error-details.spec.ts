import { create } from '@bufbuild/protobuf';
import { durationMs, StringValueSchema, TimestampSchema } from '@bufbuild/protobuf/wkt';
import { Controller, UsePipes, ValidationPipe } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { IsInt, IsString } from 'class-validator';
import { of, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';

import { DrpcError, DrpcException, DrpcMethod, DrpcStream, type ErrorDetail } from '../../lib/index.js';
import {
  badRequest,
  BadRequestSchema,
  decodeDetails,
  encodeDetail,
  errorInfo,
  findDetails,
  HelpSchema,
  preconditionFailure,
  quotaFailure,
  retryInfo,
} from '../../lib/protobuf.js';
import { Greeter as GreeterService } from '../fixtures/gen/greeter_pb.js';
import { GreetingApp } from './helpers/greeting-app.js';

const RETRY_INFO = 'type.googleapis.com/google.rpc.RetryInfo';

function errorWith(...details: ErrorDetail[]): DrpcError {
  return new DrpcError(3, 'wrong', { details });
}

describe('decodeDetails', () => {
  it('reads the well-known details', () => {
    const details = decodeDetails(
      errorWith(
        badRequest([{ field: 'name', description: 'is missing', reason: 'REQUIRED' }]),
        retryInfo(1500),
        errorInfo({ reason: 'STOCK', domain: 'shop.example', metadata: { left: '0' } }),
        quotaFailure([{ subject: 'project:1', quotaValue: 5n }]),
        preconditionFailure([{ type: 'TERMS', subject: 'user:1' }]),
        encodeDetail(HelpSchema, { links: [{ url: 'https://shop.example' }] }),
      ),
    );
    expect(details).toMatchObject({
      badRequest: { fieldViolations: [{ field: 'name', description: 'is missing', reason: 'REQUIRED' }] },
      errorInfo: { reason: 'STOCK', domain: 'shop.example', metadata: { left: '0' } },
      quotaFailure: { violations: [{ subject: 'project:1', quotaValue: 5n }] },
      preconditionFailure: { violations: [{ type: 'TERMS', subject: 'user:1' }] },
      help: { links: [{ url: 'https://shop.example' }] },
    });
    expect(durationMs(details.retryInfo!.retryDelay!)).toBe(1500);
    expect(details.debugInfo).toBeUndefined();
  });

  it('reads the bytes of Go', () => {
    // proto.Marshal of RetryInfo{RetryDelay: 1.5s}
    const value = Buffer.from('0a0808011080cab5ee01', 'hex');
    const { retryInfo: read } = decodeDetails(errorWith({ typeUrl: RETRY_INFO, value }));
    expect(read?.retryDelay).toMatchObject({ seconds: 1n, nanos: 500_000_000 });
    expect(Buffer.from(retryInfo(1500).value).toString('hex')).toBe('0a0808011080cab5ee01');
  });

  it.each([
    [0, 0n, 0],
    [0.5, 0n, 500_000],
    [999.999999, 0n, 999_999_999],
    [60_000, 60n, 0],
    [86_400_001, 86_400n, 1_000_000],
  ])('has a delay of %d ms in seconds and nanoseconds', (delay, seconds, nanos) => {
    expect(decodeDetails(errorWith(retryInfo(delay))).retryInfo?.retryDelay).toMatchObject({
      seconds,
      nanos,
    });
  });

  it('takes the first of several of a type', () => {
    const details = decodeDetails(errorWith(errorInfo({ reason: 'A' }), errorInfo({ reason: 'B' })));
    expect(details.errorInfo?.reason).toBe('A');
  });

  it('leaves out what is garbled', () => {
    const garbled = { typeUrl: RETRY_INFO, value: Buffer.of(0x0a, 0x05) };
    expect(decodeDetails(errorWith(garbled, errorInfo({ reason: 'A' })))).toMatchObject({
      errorInfo: { reason: 'A' },
    });
    expect(decodeDetails(errorWith(garbled))).toStrictEqual({});
    expect(decodeDetails(errorWith(garbled, retryInfo(1))).retryInfo).toBeDefined();
  });

  it.each([
    ['an error without details', new Error('no')],
    ['a DrpcError without details', new DrpcError(3, 'no')],
    ['details that are no list', { details: 'text' }],
    ['undefined', undefined],
    ['null', null],
  ])('finds none in %s', (_what, error) => {
    expect(decodeDetails(error)).toEqual({});
  });

  it('reads those of a DrpcException', () => {
    const exception = new DrpcException(3, 'wrong', { details: [errorInfo({ reason: 'A' })] });
    expect(decodeDetails(exception).errorInfo?.reason).toBe('A');
  });
});

describe('findDetails', () => {
  it('gives all messages of one type', () => {
    const error = errorWith(
      encodeDetail(StringValueSchema, { value: 'one' }),
      retryInfo(1),
      encodeDetail(StringValueSchema, create(StringValueSchema, { value: 'two' })),
    );
    expect(findDetails(error, StringValueSchema).map(({ value }) => value)).toEqual(['one', 'two']);
    expect(findDetails(error, TimestampSchema)).toEqual([]);
  });

  it('knows a type by what stands behind the last slash', () => {
    const { value } = badRequest([]);
    const typed = (typeUrl: string): number =>
      findDetails(errorWith({ typeUrl, value }), BadRequestSchema).length;
    expect(typed('example.org/a/google.rpc.BadRequest')).toBe(1);
    expect(typed('google.rpc.BadRequest')).toBe(1);
    expect(typed('x/notgoogle.rpc.BadRequest')).toBe(0);
    expect(typed('')).toBe(0);
  });
});

class HelloDto {
  @IsString() name!: string;
  @IsInt() age!: number;
}

describe('details of errors', () => {
  @Controller()
  class Greeter {
    @DrpcMethod(GreeterService.method.sayHello)
    sayHello(): never {
      throw new DrpcException(9, 'not now', { details: [retryInfo(250), errorInfo({ reason: 'CLOSED' })] });
    }

    @MessagePattern('list')
    @UsePipes(new ValidationPipe())
    list(@Payload() _request: HelloDto): void {}

    @MessagePattern('grouped')
    @UsePipes(new ValidationPipe({ errorFormat: 'grouped' }))
    grouped(@Payload() _request: HelloDto): void {}

    @MessagePattern('stream')
    stream(@DrpcStream(HelloDto) requests: Observable<HelloDto>): Observable<HelloDto> {
      return requests;
    }
  }

  it('reach the caller', async () => {
    const app = await GreetingApp.start([Greeter]);
    const error: unknown = await app
      .client()
      .service(GreeterService)
      .sayHello({})
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 9, message: 'not now' });
    expect(decodeDetails(error)).toMatchObject({
      errorInfo: { reason: 'CLOSED' },
      retryInfo: { retryDelay: { nanos: 250_000_000 } },
    });
  });

  it.each([
    ['list', ''],
    ['grouped', 'age'],
  ])('tell what a ValidationPipe found, with the format %s', async (pattern, field) => {
    const app = await GreetingApp.start([Greeter]);
    const error: unknown = await app
      .client()
      .call(pattern, { name: 'Nest', age: 'old' })
      .catch((thrown: unknown) => thrown);
    const description = 'age must be an integer number';
    expect(error).toMatchObject({ code: 3, message: description });
    expect(decodeDetails(error).badRequest?.fieldViolations).toMatchObject([{ field, description }]);
  });

  it('tell what is wrong with a message of a stream', async () => {
    const app = await GreetingApp.start([Greeter]);
    const error: unknown = await app
      .client()
      .call('stream', of({ name: 5, age: 5 }))
      .catch((thrown: unknown) => thrown);
    expect(decodeDetails(error).badRequest?.fieldViolations).toMatchObject([
      { field: 'name', description: 'name must be a string' },
    ]);
  });
});
