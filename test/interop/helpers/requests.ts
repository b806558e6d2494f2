import type { DrpcClient } from 'nestjs-drpc';
import { Observable, Subject, type Subscription } from 'rxjs';
import { rpc } from './interop.controller.js';

/** A request stream that a test feeds by hand. */
export class Requests {
  /** Resolves when somebody listens: the call has reached a connection. */
  readonly started: Promise<void>;
  readonly values: Observable<Buffer>;
  readonly #subject = new Subject<Buffer>();

  constructor() {
    let start!: () => void;
    this.started = new Promise((resolve) => {
      start = resolve;
    });
    this.values = new Observable((subscriber) => {
      const subscription = this.#subject.subscribe(subscriber);
      start();
      return subscription;
    });
  }

  /** Whether somebody still listens. */
  get isObserved(): boolean {
    return this.#subject.observed;
  }

  next(message: Buffer | string): void {
    this.#subject.next(Buffer.from(message));
  }

  complete(): void {
    this.#subject.complete();
  }
}

/** An open stream in both directions that says back what it is told. */
export class Chat {
  readonly requests = new Requests();
  readonly subscription: Subscription;
  /** Resolves when the stream has ended, however. */
  readonly ended: Promise<void>;
  #heard: ((message: string) => void) | undefined;

  private constructor(client: DrpcClient) {
    let end!: () => void;
    this.ended = new Promise((resolve) => {
      end = resolve;
    });
    this.subscription = client.send<Buffer>(rpc('Chat'), this.requests.values).subscribe({
      next: (message) => this.#heard?.(message.toString()),
      complete: end,
      // Many a test leaves one open until its client is closed.
      error: end,
    });
  }

  /** Opens one and sees that it answers. */
  static async open(client: DrpcClient): Promise<Chat> {
    const chat = new Chat(client);
    await chat.requests.started;
    await chat.say('hello');
    return chat;
  }

  /** Answers with what comes back. */
  say(text: string): Promise<string> {
    return new Promise((resolve) => {
      this.#heard = resolve;
      this.requests.next(text);
    });
  }
}
