/**
 * The main job: starts a Nest microservice on DRPC in one process and a Nest application that calls it in
 * another, tells the story of both, and exits with 0 only if every step went right.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

interface Message {
  line?: string;
  port?: number;
  ready?: true;
  step?: string;
  isRight?: boolean;
}

/** A step, and the lines the service must have told by its end. */
const STEPS: readonly { step: string; title: string; service: readonly RegExp[] }[] = [
  { step: 'unary', title: 'a unary call', service: [/^sum\(1, 2, 3\)$/] },
  { step: 'rows', title: 'a stream: the rows of a file', service: [/^sent 1417 rows, checksum/] },
  { step: 'hundred', title: 'many streams on one connection', service: [] },
  { step: 'unsubscribe', title: 'unsubscribing reaches the service', service: [/torn down$/] },
  { step: 'event', title: 'an event', service: [/^event: order 7, one lemon tree$/] },
  { step: 'error', title: 'an error', service: [] },
];
const TIME_LIMIT = 10_000;

/** A child whose lines are printed one after the other, each before the child goes on. */
class Teller {
  readonly child: ChildProcess;
  readonly lines: string[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(name: string, file: string, ...args: string[]) {
    this.child = fork(fileURLToPath(new URL(file, import.meta.url)), args);
    this.child.on('message', ({ line }: Message) => {
      if (line === undefined) return;
      console.log(`${name} | ${line}`);
      this.lines.push(line);
      if (this.child.connected) this.child.send({ printed: true });
      for (const check of this.#waiting) check();
    });
  }

  /** The child's next message that `matches`. */
  message(matches: (message: Message) => boolean): Promise<Message> {
    return new Promise((resolve, reject) => {
      const onMessage = (message: Message): void => {
        if (matches(message)) settle(() => resolve(message));
      };
      const onExit = (code: number | null): void =>
        settle(() => reject(new Error(`a process of the main job ended with ${code} before its time`)));
      const settle = (end: () => void): void => {
        this.child.off('message', onMessage).off('exit', onExit);
        end();
      };
      this.child.on('message', onMessage).on('exit', onExit);
    });
  }

  /** Waits until the child has told a line like this. */
  line(like: RegExp): Promise<string> {
    return new Promise((resolve) => {
      const check = (): void => {
        const found = this.lines.find((line) => like.test(line));
        if (found === undefined) return;
        this.#waiting.delete(check);
        resolve(found);
      };
      this.#waiting.add(check);
      check();
    });
  }
}

async function play(service: Teller): Promise<number> {
  const { port } = await service.message((message) => message.port !== undefined);
  const client = new Teller('client ', './caller.js', `drpc://127.0.0.1:${port}`);
  await client.message((message) => message.ready === true);
  let wrong = 0;
  for (const [i, { step, title, service: expected }] of STEPS.entries()) {
    console.log(`\n${i + 1}. ${title}`);
    const done = client.message((message) => message.step === step);
    client.child.send({ step });
    let { isRight } = await done;
    for (const like of expected) await service.line(like);
    if (step === 'rows') isRight &&= client.lines.at(-1)?.slice(5) === service.lines.at(-1)?.slice(5);
    if (!isRight) {
      wrong++;
      console.log(`        > step ${step} went wrong`);
    }
  }
  const ended = [once(client.child, 'exit'), once(service.child, 'exit')];
  client.child.disconnect();
  service.child.disconnect();
  await Promise.all(ended);
  return wrong;
}

const timer = setTimeout(() => {
  console.error(`\nthe main job did not end within ${TIME_LIMIT / 1000} s`);
  process.exit(1);
}, TIME_LIMIT);
try {
  const wrong = await play(new Teller('service', './service.js'));
  const right = STEPS.length - wrong;
  console.log(`\n${right} of ${STEPS.length} steps went right`);
  process.exitCode = wrong === 0 ? 0 : 1;
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
clearTimeout(timer);
