import { BadRequestException, HttpException, HttpStatus, NotFoundException } from '@nestjs/common';
import { describe, expect, it } from 'vitest';
import { codeOfHttpStatus, messageOfHttpException } from '../../lib/bridge/http-status.js';
import { DrpcCode } from '../../lib/errors/codes.js';

describe('codeOfHttpStatus', () => {
  it.each([
    [HttpStatus.BAD_REQUEST, DrpcCode.InvalidArgument],
    [HttpStatus.UNAUTHORIZED, DrpcCode.Unauthenticated],
    [HttpStatus.FORBIDDEN, DrpcCode.PermissionDenied],
    [HttpStatus.NOT_FOUND, DrpcCode.NotFound],
    [HttpStatus.METHOD_NOT_ALLOWED, DrpcCode.Unimplemented],
    [HttpStatus.NOT_ACCEPTABLE, DrpcCode.InvalidArgument],
    [HttpStatus.REQUEST_TIMEOUT, DrpcCode.DeadlineExceeded],
    [HttpStatus.CONFLICT, DrpcCode.AlreadyExists],
    [HttpStatus.GONE, DrpcCode.NotFound],
    [HttpStatus.PRECONDITION_FAILED, DrpcCode.FailedPrecondition],
    [HttpStatus.PAYLOAD_TOO_LARGE, DrpcCode.ResourceExhausted],
    [HttpStatus.UNSUPPORTED_MEDIA_TYPE, DrpcCode.InvalidArgument],
    [HttpStatus.UNPROCESSABLE_ENTITY, DrpcCode.InvalidArgument],
    [HttpStatus.TOO_MANY_REQUESTS, DrpcCode.ResourceExhausted],
    [HttpStatus.INTERNAL_SERVER_ERROR, DrpcCode.Internal],
    [HttpStatus.NOT_IMPLEMENTED, DrpcCode.Unimplemented],
    [HttpStatus.BAD_GATEWAY, DrpcCode.Unavailable],
    [HttpStatus.SERVICE_UNAVAILABLE, DrpcCode.Unavailable],
    [HttpStatus.GATEWAY_TIMEOUT, DrpcCode.DeadlineExceeded],
    [HttpStatus.I_AM_A_TEAPOT, DrpcCode.Unknown],
    [299, DrpcCode.Unknown],
  ])('is for %d code %d', (status, code) => {
    expect(codeOfHttpStatus(status)).toBe(code);
  });
});

describe('messageOfHttpException', () => {
  it.each([
    [new NotFoundException('text'), 'text'],
    [new NotFoundException(), 'Not Found'],
    [new BadRequestException(['one', 'two']), 'one; two'],
    [new BadRequestException({ message: { a: ['one', 'two'], 'b.c': ['three'] } }), 'one; two; three'],
    [new BadRequestException({ message: { a: 'one' } }), 'Bad Request Exception'],
    [new HttpException('text', 500), 'text'],
    [new HttpException({ message: 'inner' }, 500), 'inner'],
    [new HttpException({ error: 5 }, 500), 'Http Exception'],
  ])('is %s', (exception, message) => {
    expect(messageOfHttpException(exception)).toBe(message);
  });
});
