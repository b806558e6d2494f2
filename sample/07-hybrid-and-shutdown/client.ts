import { DrpcClient, DrpcError } from 'nestjs-drpc';

const health = await fetch('http://127.0.0.1:4107/health');
console.log('http:', await health.text());

const client = new DrpcClient({ url: 'drpc://127.0.0.1:4007' });
const report = client.call('report', {});
await client.call('stop', {});

// The server takes no new calls, and finishes those it has.
console.log('report:', await report);
await client.call('report', {}).catch((error: DrpcError) => console.log('report:', error.code));
await client.close();
