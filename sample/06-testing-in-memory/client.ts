import 'reflect-metadata';
import assert from 'node:assert/strict';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { DrpcClient, DrpcServer } from 'nestjs-drpc';
import { createInMemoryNetwork } from 'nestjs-drpc/testing';

@Controller()
class GreetController {
  @MessagePattern('greet')
  greet(@Payload() name: string): string {
    return `Hello ${name}`;
  }
}

// One process, no port: the server listens in memory and the client dials it there.
const network = createInMemoryNetwork();
const module = await Test.createTestingModule({ controllers: [GreetController] }).compile();
const app = module.createNestMicroservice({ strategy: new DrpcServer({ listener: network.listener }) });
app.useLogger(false);
await app.listen();
const client = new DrpcClient({ dial: network.dial });

assert.equal(await client.call('greet', 'Ada'), 'Hello Ada');
console.log('greet: passed');

await client.close();
await app.close();
