import type { Deserializer, Serializer, WritePacket } from '@nestjs/microservices';
import { concatMap, from, mergeMap } from 'rxjs';
import { ONE_FOR_ONE, type DrpcClientInterceptor } from './drpc-client.interceptor.js';

/**
 * The `serializer` and `deserializer` of Nest's own clients: the one changes the packet before it is encoded,
 * the other makes a packet of each decoded answer. Both may answer with a promise.
 */
export function packetInterceptors(
  serializer: Serializer | undefined,
  deserializer: Deserializer | undefined,
): DrpcClientInterceptor[] {
  const interceptors = [
    ...(deserializer ? [deserialize(deserializer)] : []),
    ...(serializer ? [serialize(serializer)] : []),
  ];
  return interceptors.map((interceptor) => Object.assign(interceptor, { [ONE_FOR_ONE]: true }));
}

function serialize(serializer: Serializer): DrpcClientInterceptor {
  return (call, next) => {
    const { pattern, data } = call;
    const packet = Promise.resolve(serializer.serialize({ pattern, data }) as { data: unknown });
    return from(packet).pipe(mergeMap((changed) => next({ ...call, data: changed.data })));
  };
}

function deserialize(deserializer: Deserializer): DrpcClientInterceptor {
  return (call, next) =>
    next(call).pipe(
      concatMap(async (answer) => {
        const packet = (await deserializer.deserialize(answer)) as WritePacket;
        if (packet.err) throw packet.err;
        return packet.response as unknown;
      }),
    );
}
