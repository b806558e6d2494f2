/** A member of a {@link LinkedList}, which owns these two. */
export interface Linked<T> {
  previous: T | undefined;
  following: T | undefined;
}

/** Members that come and go all the time, each in one list at most: unlike a Set, nothing is made for them. */
export class LinkedList<T extends Linked<T>> {
  #newest: T | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(member: T): void {
    member.following = this.#newest;
    if (this.#newest) this.#newest.previous = member;
    this.#newest = member;
    this.#size++;
  }

  /** Harmless when the member is not there. */
  remove(member: T): void {
    const { previous, following } = member;
    if (previous) previous.following = following;
    else if (this.#newest === member) this.#newest = following;
    else return;
    if (following) following.previous = previous;
    member.previous = undefined;
    member.following = undefined;
    this.#size--;
  }

  /** The members now, in the order in which they came. */
  toArray(): T[] {
    const members: T[] = [];
    for (let member = this.#newest; member; member = member.following) members.push(member);
    return members.reverse();
  }
}
