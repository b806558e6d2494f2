import { describe, expect, it } from 'vitest';
import { LinkedList, type Linked } from '../../lib/pool/linked-list.js';

class Member implements Linked<Member> {
  previous: Member | undefined;
  following: Member | undefined;
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

function filled(...names: string[]) {
  const list = new LinkedList<Member>();
  const members = names.map((name) => new Member(name));
  for (const member of members) list.add(member);
  return { list, members };
}

function namesOf(list: LinkedList<Member>): string {
  return list
    .toArray()
    .map(({ name }) => name)
    .join('');
}

describe('LinkedList', () => {
  it('gives its members in the order in which they came', () => {
    const { list } = filled('a', 'b', 'c');
    expect([namesOf(list), list.size]).toEqual(['abc', 3]);
    expect(namesOf(new LinkedList())).toBe('');
  });

  it.each([
    ['the oldest', 0, 'bcd'],
    ['one in the middle', 1, 'acd'],
    ['the newest', 3, 'abc'],
  ])('lets %s go', (_what, at, left) => {
    const { list, members } = filled('a', 'b', 'c', 'd');
    list.remove(members[at]!);
    expect([namesOf(list), list.size]).toEqual([left, 3]);
    expect([members[at]!.previous, members[at]!.following]).toEqual([undefined, undefined]);
    list.add(members[at]!);
    expect(namesOf(list)).toBe(left + members[at]!.name);
  });

  it('does nothing for a member that is not there, or not any more', () => {
    const { list, members } = filled('a', 'b');
    list.remove(new Member('c'));
    list.remove(members[1]!);
    list.remove(members[1]!);
    expect([namesOf(list), list.size]).toEqual(['a', 1]);
    list.remove(members[0]!);
    list.remove(members[0]!);
    expect([namesOf(list), list.size]).toEqual(['', 0]);
  });
});
