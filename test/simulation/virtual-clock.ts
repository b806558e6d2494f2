import type { Clock, Timer } from '../../lib/clock/clock.js';

interface Task extends Timer {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
  isOver: boolean;
}

/**
 * Time that stands still until somebody turns the hands: tasks run in the order of their times, those of the
 * same time in the order in which they were set. Nothing here looks at the real clock.
 */
export class VirtualClock implements Clock {
  #now = 0;
  #order = 0;
  #soon: (() => void)[] = [];
  #yielded: (() => void)[] = [];
  /** A heap: the earliest task first. */
  readonly #tasks: Task[] = [];
  #pending = 0;
  #yields = 0;

  /** Timers that were set and have neither fired nor been cancelled. */
  get pending(): number {
    return this.#pending;
  }

  /** How often somebody gave others a turn. */
  get yields(): number {
    return this.#yields;
  }

  now(): number {
    return this.#now;
  }

  after(ms: number, run: () => void): Timer {
    const task: Task = {
      at: this.#now + Math.max(0, ms),
      order: this.#order++,
      run,
      isOver: false,
      cancel: () => {
        if (task.isOver) return;
        task.isOver = true;
        this.#pending--;
      },
    };
    this.#pending++;
    this.#push(task);
    return task;
  }

  soon(task: () => void): void {
    this.#soon.push(task);
  }

  yield(task: () => void): void {
    this.#yields++;
    this.#yielded.push(task);
  }

  /** Runs what was put off to the end of the turn, and what that puts off. Answers whether there was anything. */
  endTurn(): boolean {
    if (this.#soon.length === 0) return false;
    for (let tasks = this.#soon; tasks.length > 0; tasks = this.#soon) {
      this.#soon = [];
      for (const task of tasks) task();
    }
    return true;
  }

  /** Runs the tasks that gave others a turn. Answers whether there was any. */
  runYielded(): boolean {
    const tasks = this.#yielded;
    if (tasks.length === 0) return false;
    this.#yielded = [];
    for (const task of tasks) task();
    return true;
  }

  /** When the next timer fires; `undefined` when none is set. */
  get next(): number | undefined {
    while (this.#tasks[0]?.isOver) this.#pop();
    return this.#tasks[0]?.at;
  }

  /** Goes on to the next timer and fires it. Answers false when there is none. */
  step(): boolean {
    if (this.next === undefined) return false;
    const task = this.#pop();
    this.#now = task.at;
    task.isOver = true;
    this.#pending--;
    task.run();
    return true;
  }

  #push(task: Task): void {
    const tasks = this.#tasks;
    let at = tasks.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(task, tasks[parent]!)) break;
      tasks[at] = tasks[parent]!;
      at = parent;
    }
    tasks[at] = task;
  }

  #pop(): Task {
    const tasks = this.#tasks;
    const first = tasks[0]!;
    const last = tasks.pop()!;
    const size = tasks.length;
    if (size === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && isBefore(tasks[child + 1]!, tasks[child]!)) child++;
      if (!isBefore(tasks[child]!, last)) break;
      tasks[at] = tasks[child]!;
      at = child;
    }
    tasks[at] = last;
    return first;
  }
}

/** The part of a clock that one user sees: what it has left running can be told from what others have. */
export class ClockView implements Clock {
  readonly #clock: Clock;
  #pending = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Timers that were set here and have neither fired nor been cancelled. */
  get pending(): number {
    return this.#pending;
  }

  now(): number {
    return this.#clock.now();
  }

  after(ms: number, task: () => void): Timer {
    let isOver = false;
    const over = (): void => {
      if (isOver) return;
      isOver = true;
      this.#pending--;
    };
    this.#pending++;
    const timer = this.#clock.after(ms, () => {
      over();
      task();
    });
    return {
      cancel: () => {
        over();
        timer.cancel();
      },
    };
  }

  soon(task: () => void): void {
    this.#clock.soon(task);
  }

  yield(task: () => void): void {
    this.#clock.yield(task);
  }
}

function isBefore(a: Task, b: Task): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
