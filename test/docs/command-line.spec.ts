import { readFileSync } from 'node:fs';
import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { DrpcException, DrpcMetadata, DrpcMethod, DrpcStream } from 'nestjs-drpc';
import { badRequest } from 'nestjs-drpc/protobuf';
import { range, reduce, type Observable } from 'rxjs';
import { describe, expect, it } from 'vitest';

import { run } from '../../lib/cli/run.js';
import { Service } from '../client/helpers/service.js';
import { greeterProto } from '../service/helpers/goldens.js';
import { describePage } from './docs-page.js';

describePage('command-line');

@Controller()
class Handlers {
  @MessagePattern('sum')
  sum(@Payload() numbers: number[]): number {
    return numbers.reduce((a, b) => a + b, 0);
  }

  @MessagePattern({ cmd: 'sum', area: 'math' })
  sumOfMath(@Payload() numbers: number[]): number {
    return this.sum(numbers);
  }

  @EventPattern('ordered')
  ordered(_order: unknown): void {}

  @MessagePattern('count')
  count(@Payload() to: number): Observable<number> {
    return range(1, to);
  }

  @MessagePattern('total')
  total(@DrpcStream() numbers: Observable<number>): Observable<number> {
    return numbers.pipe(reduce((a, b) => a + b, 0));
  }

  @MessagePattern('whoami')
  whoami(@DrpcMetadata('user') user: string): string {
    return user;
  }

  @MessagePattern('order')
  order(): never {
    const details = [badRequest([{ field: 'count', description: 'must be at least 1' }])];
    throw DrpcException.invalidArgument('count must be at least 1', { details });
  }

  @DrpcMethod('Greeter', 'SayHello')
  sayHello({ name }: { name: string }): object {
    return { message: `Hello, ${name}!` };
  }
}

/** A command of the page and what it says comes of it. */
interface Example {
  input: string;
  args: string[];
  output: string;
}

/** Commands are `npx nestjs-drpc …` with words in single quotes, behind `seq n |` where they have an input. */
function examples(page: string): [string, Example][] {
  const blocks = [...page.matchAll(/```console\n([^]*?)```/g)].map(([, block]) => block!);
  return blocks
    .flatMap((block) => block.split(/^\$ /m).slice(1))
    .map((example) => {
      const [line = '', ...output] = example.split('\n');
      const parts = /^(?:seq (?<count>\d+) \| )?npx nestjs-drpc (?<words>.*)$/.exec(line)!.groups!;
      const words = [...parts['words']!.matchAll(/'([^']*)'|(\S+)/g)];
      const numbers = Array.from({ length: Number(parts['count'] ?? 0) }, (_, at) => `${at + 1}\n`);
      const args = words.map(([, quoted, plain]) => quoted ?? plain!);
      return [line, { input: numbers.join(''), args, output: output.join('\n') }];
    });
}

/** Times are others each time. */
function withoutTimes(output: string): string {
  return output.replace(/\d+\.\d ms/g, 'n ms');
}

describe('the commands of docs/command-line.md', () => {
  const page = readFileSync(new URL('../../docs/command-line.md', import.meta.url), 'utf8');

  it.each(examples(page))('%s', async (_line, { input, args, output }) => {
    const service = await Service.start([Handlers], { server: { protoPath: greeterProto } });
    const replaced: Record<string, string> = {
      'drpc://127.0.0.1:4000': service.way.url!,
      'greeter.proto': greeterProto,
    };
    const said = new PassThrough();
    const read = text(said);
    await run(
      args.map((word) => replaced[word] ?? word),
      {
        input: Readable.from([Buffer.from(input)]),
        output: said,
        errors: said,
        signal: new AbortController().signal,
      },
    );
    said.end();
    const shown = (await read).replaceAll(service.way.url!, 'drpc://127.0.0.1:4000');
    expect(withoutTimes(shown)).toBe(withoutTimes(output));
  });
});
