import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import {
  DrpcClient,
  DrpcCode,
  DrpcError,
  DrpcException,
  DrpcMethod,
  DrpcServer,
  DrpcService,
} from 'nestjs-drpc';
import { Prices, Stock, type QuoteReply, type QuoteRequest } from './shop_pb.js';

const CENTS: Record<string, bigint> = { lemon: 80n, lime: 60n };

@DrpcService()
class PricesController {
  @DrpcMethod(Prices.method.quote)
  quote({ item, count }: QuoteRequest): Pick<QuoteReply, 'totalCents'> {
    const cents = CENTS[item];
    if (cents === undefined) throw new DrpcException(DrpcCode.NotFound, `no price for ${item}`);
    console.log(`Go asks what ${count} of ${item} cost`);
    return { totalCents: BigInt(count) * cents };
  }
}

@Module({ controllers: [PricesController] })
class ShopModule {}

const app = await NestFactory.createMicroservice<MicroserviceOptions>(ShopModule, {
  strategy: new DrpcServer({ url: 'drpc://127.0.0.1:4008' }),
});
await app.listen();

// Named, so that the first connection is not spent on finding out.
const client = new DrpcClient({ url: 'drpc://127.0.0.1:4018', peer: 'storj' });
const stock = client.service(Stock);

// Each turn takes three away, of which the stream tells in the next; leaving it is what cancels it in Go.
for await (const { left } of stock.watch({ item: 'lemon' })) {
  console.log(`${left} lemons are left`);
  if (left < 5) break;
  const { totalCents } = await stock.reserve({ item: 'lemon', count: 3 });
  console.log(`three of them cost ${totalCents} cents`);
}
try {
  await stock.reserve({ item: 'melon', count: 1 }, { timeout: 5000 });
} catch (error) {
  if (error instanceof DrpcError) console.log(`code ${error.code}: ${error.message}`);
}
await client.close();
await app.close();
