import { describe, expect, it } from 'vitest';
import { unknownName } from '../../lib/errors/unknown-name.js';

const KNOWN = ['timeout', 'maxStreams', 'maxStreamsPerConnection', 'url', 'urls', 'port', 'host'];

describe('unknownName', () => {
  it('names all that there are, in order', () => {
    expect(unknownName('option', 'x', ['b', 'a', 'c'])).toBe('option x is not known: there are a, b, c');
  });

  it.each([
    ['maxStream', 'maxStreams'],
    ['MAXSTREAMS', 'maxStreams'],
    ['tmieout', 'timeout'],
    ['timeoutMs', 'timeout'],
    ['maxStreamsPerConection', 'maxStreamsPerConnection'],
    ['Url', 'url'],
    ['urlss', 'urls'],
    ['ports', 'port'],
  ])('asks whether %s was meant to be %s', (name, meant) => {
    expect(unknownName('option', name, KNOWN)).toContain(
      `option ${name} is not known, did you mean ${meant}? There are host, `,
    );
  });

  it.each(['', 'x', 'gracePeriod', 'maxConcurrentStreams', 'constructor'])(
    'does not guess at "%s"',
    (name) => {
      expect(unknownName('option', name, KNOWN)).toMatch(/is not known: there are host, /);
    },
  );

  it('shows a name as it may stand in a log', () => {
    expect(unknownName('option', 'a\nb', ['c'])).toBe('option a\\nb is not known: there are c');
  });
});
