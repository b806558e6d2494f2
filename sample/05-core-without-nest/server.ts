import { createServer } from 'node:net';
import { DrpcCode, DrpcError, jsonEncoding, serveOne, type RpcHandler } from 'nestjs-drpc/core';

const handlers = new Map<string, RpcHandler>([
  [
    'sqrt',
    {
      encoding: jsonEncoding,
      async run(stream) {
        const number = (await stream.msgRecv()) as number;
        if (number < 0) throw new DrpcError(DrpcCode.InvalidArgument, `${number} has no real square root`);
        await stream.msgSend(Math.sqrt(number));
      },
    },
  ],
  [
    'echo',
    {
      encoding: jsonEncoding,
      async run(stream) {
        for await (const message of stream) await stream.msgSend(message);
      },
    },
  ],
]);

createServer((socket) => serveOne(socket, handlers)).listen(4005, '127.0.0.1', () =>
  console.log('listening'),
);
