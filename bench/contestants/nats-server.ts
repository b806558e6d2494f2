import { connect } from 'node:net';

export const NATS_PORT = 4222;

const LIMIT_MS = 500;

/** Whether a NATS server is there: it greets with an INFO line. */
export function natsAnswers(): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(NATS_PORT, '127.0.0.1');
    const decide = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(LIMIT_MS, () => decide(false));
    socket.once('error', () => decide(false));
    socket.once('data', (greeting: Buffer) => decide(greeting.toString('latin1').startsWith('INFO ')));
  });
}
