import { DrpcClient, DrpcError } from 'nestjs-drpc';

const client = new DrpcClient({ url: 'drpc://127.0.0.1:4004', metadata: { 'x-name': 'Ada' } });

const show = async (call: Promise<unknown>): Promise<void> => {
  try {
    console.log(await call);
  } catch (error) {
    if (error instanceof DrpcError) console.log(`${error.name} ${error.code}: ${error.message}`);
  }
};

await show(client.call('open', 1));
const metadata = { authorization: 'Bearer secret' };
await show(client.call('open', 1, { metadata }));
await show(client.call('open', 9, { metadata }));
await show(client.call('break', {}, { metadata }));
await show(client.call('close', {}, { metadata }));
await client.close();
