import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';

import { packageError } from '../../lib/service/optional-package.js';

const notThere = "Cannot find module '@grpc/proto-loader'\nRequire stack:\n- /app/main.js";

describe('packageError', () => {
  it.each([
    ['MODULE_NOT_FOUND', notThere],
    ['ERR_MODULE_NOT_FOUND', "Cannot find package '@grpc/proto-loader' imported from /app/main.js"],
  ])('says which package to install and what for: %s', (code, message) => {
    const cause = Object.assign(new Error(message), { code });
    expect(packageError(cause, '@grpc/proto-loader', 'the option protoPath')).toMatchObject({
      message:
        'the option protoPath needs the package @grpc/proto-loader, which is not installed: npm install @grpc/proto-loader',
      cause,
    });
  });

  it.each([
    ['another code', Object.assign(new Error(notThere), { code: 'EACCES' })],
    ['no code', new Error(notThere)],
    [
      'a package that this one needs',
      Object.assign(new Error("Cannot find module 'long'"), { code: 'MODULE_NOT_FOUND' }),
    ],
    [
      'this one in the stack alone',
      Object.assign(new Error("Cannot find module 'long'\n- '@grpc/proto-loader'"), {
        code: 'MODULE_NOT_FOUND',
      }),
    ],
    ['no error', 'a text'],
  ])('answers an error with %s as it is', (_what, error) => {
    expect(packageError(error, '@grpc/proto-loader', 'the option protoPath')).toBe(error);
  });

  it.each([
    ['required', () => createRequire(import.meta.url)('no-such-package') as unknown],
    ['imported', () => import(/* @vite-ignore */ String('no-such-package')) as unknown],
  ])('knows the error of Node for a package that is %s', async (_what, load) => {
    const error: unknown = await (async () => load())().catch((thrown: unknown) => thrown);
    expect(packageError(error, 'no-such-package', 'this')).toMatchObject({
      message: 'this needs the package no-such-package, which is not installed: npm install no-such-package',
    });
  });
});
