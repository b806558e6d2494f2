import { DrpcClient, DrpcError } from 'nestjs-drpc';
import { lastValueFrom, take, toArray } from 'rxjs';

const client = new DrpcClient({ url: 'drpc://127.0.0.1:4003' });

// Unsubscribing sends Cancel; so do take(), timeout(), switchMap() and all that unsubscribe.
console.log('ticks:', await lastValueFrom(client.send('ticks', {}).pipe(take(3), toArray())));

// Leaving the loop sends Cancel.
for await (const n of client.stream<number>('numbers', {})) {
  if (n === 3) break;
}

// A deadline travels with the call: both sides end it.
try {
  await client.call('report', {}, { timeout: 50 });
} catch (error) {
  if (error instanceof DrpcError) console.log('report:', error.code, error.message);
}

// So does an AbortSignal.
const abort = new AbortController();
const report = client.call('report', {}, { signal: abort.signal });
setTimeout(() => abort.abort(), 20);
await report.catch((error: DrpcError) => console.log('report:', error.code, error.message));
await client.close();
