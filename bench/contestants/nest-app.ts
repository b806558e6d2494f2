import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { Module, type DynamicModule, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientsModule, type MicroserviceOptions } from '@nestjs/microservices';

@Module({})
class BenchModule {}

/** A Nest microservice with these controllers. */
export async function listenNest(
  options: MicroserviceOptions,
  controllers: Type[],
): Promise<() => Promise<void>> {
  const module: DynamicModule = { module: BenchModule, controllers };
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(module, {
    ...options,
    logger: ['error'],
  });
  await app.listen();
  return () => app.close();
}

type ClientOptions = Parameters<typeof ClientsModule.register>[0];

/** A Nest application context that has one registered client, and what its injection gives. */
export async function connectNest<C>(options: Exclude<ClientOptions, { clients: unknown }>[number]) {
  const module: DynamicModule = { module: BenchModule, imports: [ClientsModule.register([options])] };
  const app = await NestFactory.createApplicationContext(module, { logger: ['error'] });
  return { client: app.get<C>(options.name), close: () => app.close() };
}

/** For servers that can not be asked for the port they have found. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
