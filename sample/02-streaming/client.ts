import { DrpcClient } from 'nestjs-drpc';
import { firstValueFrom, from, lastValueFrom, toArray, type Observable } from 'rxjs';

/** The patterns of the service with the signatures of their handlers: payloads and answers are typed by it. */
interface NumbersApi {
  count(to: number): AsyncIterable<number>;
  total(numbers: Observable<number>): number;
  double(numbers: Observable<number>): Observable<number>;
  words(words: AsyncIterable<string>): Promise<string>;
}

const client = new DrpcClient<NumbersApi>({ url: 'drpc://127.0.0.1:4002' });

// A stream of answers: as an AsyncIterable (its pace reaches the service), or as an Observable.
let sum = 0;
for await (const n of client.stream('count', 1000)) sum += n;
console.log('count:', sum);
console.log('count:', await lastValueFrom(client.send('count', 5).pipe(toArray())));

// An Observable or AsyncIterable as payload is a stream of requests.
console.log('total:', await firstValueFrom(client.send('total', from([1, 2, 3]))));
console.log('double:', await lastValueFrom(client.send('double', from([1, 2, 3])).pipe(toArray())));

async function* words(): AsyncGenerator<string> {
  yield 'many';
  yield 'small';
  yield 'messages';
}
console.log('words:', await client.call('words', words()));
await client.close();
