import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { BUILD_TIMEOUT, GO_DIRECTORY } from '../interop/helpers/go-programs.js';
import { describeWithGo } from '../interop/helpers/with-go.js';
import { BuiltSamples } from '../sample/built-samples.js';

const sample = fileURLToPath(new URL('../../sample/08-go-interop/', import.meta.url));
const run = promisify(execFile);

/** The blocks of the README that show what is printed: by Nest, by Go. */
function shownOutputs(): string[][] {
  const blocks = readFileSync(join(sample, 'README.md'), 'utf8').matchAll(/```text\n([^]*?)```/g);
  return [...blocks].map(([, text]) => linesOf(text!));
}

function linesOf(text: string): string[] {
  return text.split('\n').filter((line) => line !== '');
}

describeWithGo('the sample with a Go service', () => {
  const folder = mkdtempSync(join(tmpdir(), 'nestjs-drpc-go-sample-'));
  const stock = join(folder, 'stock');
  let samples: BuiltSamples;

  beforeAll(async () => {
    samples = await BuiltSamples.make();
    const build = 'source "$1/env.sh" && cd "$2" && go vet ./... && go build -o "$3" .';
    const source = join(samples.sourceOf('08-go-interop'), 'go');
    await run('bash', ['-c', build, 'bash', GO_DIRECTORY, source, stock]);
  }, BUILD_TIMEOUT);

  afterAll(async () => {
    rmSync(folder, { recursive: true });
    await samples?.remove();
  });

  it('prints what its README shows', async () => {
    const [shownByNest, shownByGo] = shownOutputs();
    const go = spawn(stock, { stdio: ['ignore', 'pipe', 'inherit'] });
    onTestFinished(() => void go.kill());
    const lines: string[] = [];
    const reader = createInterface({ input: go.stdout });
    reader.on('line', (line) => lines.push(line));
    await once(reader, 'line');

    const { code, stdout } = await samples.run('run.js', '08-go-interop');

    expect(linesOf(stdout)).toEqual(shownByNest);
    expect(code).toBe(0);
    while (lines.length < shownByGo!.length) await once(reader, 'line');
    expect(lines).toEqual(shownByGo);
  });
});
