import type { Deserializer, Serializer, WritePacket } from '@nestjs/microservices';
import { concatMap, from, mergeMap, type Observable } from 'rxjs';
import type { DrpcClientInterceptor } from './drpc-client.interceptor.js';

/**
 * The `serializer` and `deserializer` of Nest's own clients: the one changes the packet before it is encoded,
 * the other makes a packet of each decoded answer. Both may answer with a promise.
 */
export function packetInterceptor(
  serializer: Serializer | undefined,
  deserializer: Deserializer | undefined,
): DrpcClientInterceptor {
  return (call, next) => {
    const answers = serializer ? serialized(serializer, call, next) : next(call);
    if (!deserializer) return answers;
    return answers.pipe(
      concatMap(async (answer) => {
        const packet = (await deserializer.deserialize(answer)) as WritePacket;
        if (packet.err) throw packet.err;
        return packet.response as unknown;
      }),
    );
  };
}

function serialized(
  serializer: Serializer,
  call: Parameters<DrpcClientInterceptor>[0],
  next: Parameters<DrpcClientInterceptor>[1],
): Observable<unknown> {
  const { pattern, data } = call;
  const packet = Promise.resolve(serializer.serialize({ pattern, data }) as { data: unknown });
  return from(packet).pipe(mergeMap((changed) => next({ ...call, data: changed.data })));
}
