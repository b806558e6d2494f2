import { Logger } from '@nestjs/common';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { ExitCode } from '../../lib/cli/run.js';
import { GoServer } from '../interop/helpers/go-server.js';
import { PEERS } from '../interop/helpers/peers.js';
import { describeWithGo } from '../interop/helpers/with-go.js';
import { greeterProto } from '../service/helpers/goldens.js';
import { result, succeeded } from './helpers/command.js';

beforeAll(() => Logger.overrideLogger(false));

describeWithGo.each(PEERS)('nestjs-drpc and a Go server (%s)', (_name, { module, profile, flags }) => {
  let server: GoServer;

  beforeAll(async () => {
    server = await GoServer.start(module, ...flags);
  });

  afterAll(() => server.close());

  const call = (method: string, message: object) => {
    const proto = ['--proto', greeterProto, '--peer', profile];
    const args = ['call', ...proto, `drpc://${server.address}`, `interop.v1.Greeter/${method}`];
    return result([...args, JSON.stringify(message)]);
  };

  it('calls', async () => {
    expect(await call('SayHello', { name: 'Go' })).toEqual(succeeded('{"message":"Hello, Go!","index":0}\n'));
  });

  it('reads a stream', async () => {
    const { output } = await call('ListHellos', { name: 'Go', count: 3 });
    expect(output.match(/"index":\d/g)).toEqual(['"index":0', '"index":1', '"index":2']);
  });

  it('tells what a call failed with', async () => {
    const { code, errors } = await call('Fail', { code: 5, message: 'not here' });
    expect(code).toBe(ExitCode.Failure);
    expect(errors).toMatch(/^error 5 \(NotFound\): .*not here\n$/);
  });

  it('finds out by itself how it has to speak', async () => {
    const { output, errors } = await result(['ping', `drpc://${server.address}`]);
    expect(errors).toBe('');
    expect(output).toContain(': a DRPC server, spoken to as storj, connected in ');
  });
});
