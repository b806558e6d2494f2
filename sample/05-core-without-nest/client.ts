import { once } from 'node:events';
import { connect } from 'node:net';
import { Conn, jsonEncoding, type DrpcError } from 'nestjs-drpc/core';

const socket = connect(4005, '127.0.0.1');
await once(socket, 'connect');
const conn = new Conn(socket);

console.log('sqrt:', await conn.invoke('sqrt', jsonEncoding, 2));
await conn
  .invoke('sqrt', jsonEncoding, -1)
  .catch((error: DrpcError) => console.log(error.code, error.message));

const echo = conn.newStream<string, string>('echo', jsonEncoding);
for (const word of ['one', 'two']) {
  await echo.msgSend(word);
  console.log('echo:', await echo.msgRecv());
}
echo.closeSend();
console.log('echo:', await echo.msgRecv());
await conn.close();
