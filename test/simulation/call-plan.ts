import type { Random } from './random.js';

/** How an application takes messages. */
export interface Reading {
  /** All at once, one after the other with pauses, or none. */
  mode: 'push' | 'pull' | 'none';
  /** The longest pause between two, in ms. */
  pause: number;
}

/** How an application sends messages. */
export interface Sending {
  /** Sizes in bytes. */
  sizes: readonly number[];
  /** As text rather than as bytes. */
  isText: boolean;
  /** Waits until there is room before the next one; otherwise it sends whatever the stream says. */
  waits: boolean;
  /** The longest pause between two, in ms. */
  pause: number;
}

/** How a handler ends its rpc after its last message. */
export type HandlerEnd = 'ok' | 'error' | 'close' | 'cancel' | 'throw' | 'fail';

/** One call, from both sides. Times in ms. */
export interface CallPlan {
  id: number;
  startsAt: number;
  metadata: boolean;
  timeout: number | undefined;
  requests: Sending;
  /** The request is one message that is sent with the Invoke. */
  isUnary: boolean;
  responses: Sending;
  clientReads: Reading;
  serverReads: Reading;
  /** The handler waits so long before it does anything. */
  guard: number;
  /** The handler sends only once it has all requests. */
  waitsForRequests: boolean;
  handlerEnd: HandlerEnd;
  /** The handler needs so long to end after its stream did. */
  cleanup: number;
  /** The caller gives up after so long. */
  cancelAfter: number | undefined;
  /** The caller gives up when it has so many messages. */
  cancelAt: number | undefined;
  /** How the caller ends its requests. */
  clientEnd: 'closeSend' | 'close' | 'error';
}

/** What a call comes to when nobody disturbs it; `undefined`: that depends on who is quicker. */
export function undisturbedOutcome(plan: CallPlan): string | undefined {
  const isPlain = plan.cancelAfter === undefined && plan.cancelAt === undefined && plan.timeout === undefined;
  if (!isPlain || plan.clientEnd !== 'closeSend' || plan.clientReads.mode === 'none') return undefined;
  switch (plan.handlerEnd) {
    case 'ok':
    case 'close':
      return 'ok';
    case 'error':
      return 'handler: error';
    default:
      return undefined;
  }
}

/** What makes calls differ between scenarios. */
export interface CallRange {
  largestMessage: number;
  mostMessages: number;
  longestPause: number;
  /** All messages are about as large as the largest. */
  isBulk: boolean;
  /** Share of calls that end before their time. */
  trouble: number;
  /** Calls begin within so many ms. */
  span: number;
}

function sending(random: Random, range: CallRange, isMany: boolean): Sending {
  const { largestMessage, mostMessages, longestPause, isBulk } = range;
  const count = !isMany ? 1 : random.chance(0.6) ? random.size(mostMessages) : random.int(0, mostMessages);
  const largest = count > 50 ? Math.min(largestMessage, 500) : largestMessage;
  const size = (): number => {
    if (isBulk) return random.int(largest >> 1, largest);
    return random.chance(0.1) ? random.int(0, largest) : random.size(Math.min(2000, largest));
  };
  return {
    sizes: Array.from({ length: count }, size),
    isText: random.chance(0.3),
    waits: random.chance(0.8),
    pause: random.chance(0.4) ? random.size(longestPause) : 0,
  };
}

function reading(random: Random, { longestPause }: CallRange): Reading {
  if (random.chance(0.5)) return { mode: 'push', pause: 0 };
  return { mode: 'pull', pause: random.chance(0.5) ? random.size(longestPause) : 0 };
}

/** A call as users make them, with something going wrong in `range.trouble` of all. */
export function planCall(random: Random, id: number, range: CallRange): CallPlan {
  const requestsMany = random.chance(0.4);
  const responsesMany = random.chance(0.4);
  const plan: CallPlan = {
    id,
    startsAt: random.int(0, range.span),
    metadata: random.chance(0.3),
    timeout: undefined,
    requests: sending(random, range, requestsMany),
    isUnary: !requestsMany && random.chance(0.7),
    responses: sending(random, range, responsesMany),
    clientReads: reading(random, range),
    serverReads: reading(random, range),
    guard: random.chance(0.3) ? random.size(range.longestPause) : 0,
    waitsForRequests: random.chance(0.5),
    handlerEnd: 'ok',
    cleanup: random.chance(0.2) ? random.size(1000) : 0,
    cancelAfter: undefined,
    cancelAt: undefined,
    clientEnd: 'closeSend',
  };
  if (plan.isUnary) plan.clientEnd = 'closeSend';
  while (random.chance(range.trouble)) addTrouble(random, plan, range);
  return plan;
}

function addTrouble(random: Random, plan: CallPlan, range: CallRange): void {
  switch (random.int(0, 8)) {
    case 0:
    case 1:
      plan.cancelAfter = random.size(range.longestPause * 4);
      break;
    case 2:
      plan.cancelAt = random.int(0, Math.min(5, plan.responses.sizes.length));
      break;
    case 3:
      plan.timeout = 1 + random.size(range.longestPause * 4);
      break;
    case 4:
    case 5:
      plan.handlerEnd = random.pick(['error', 'close', 'cancel', 'throw', 'fail']);
      break;
    case 6:
      if (!plan.isUnary) plan.clientEnd = random.pick(['close', 'error']);
      break;
    case 7:
      plan.serverReads = { mode: 'none', pause: 0 };
      plan.waitsForRequests = false;
      break;
    default:
      plan.clientReads = { mode: 'none', pause: 0 };
      plan.cancelAfter = random.size(range.longestPause * 10);
  }
}

/** The content of message `index` of a call in a direction: says where it belongs, over and over. */
export function contentOf(plan: CallPlan, direction: 'up' | 'down', index: number): Buffer {
  const { sizes, isText } = direction === 'up' ? plan.requests : plan.responses;
  const size = sizes[index]!;
  if (size === 0) return Buffer.alloc(0);
  const mark = `${direction} ${plan.id}.${index}${isText ? ' – ' : '\xff'} `;
  if (!isText) return Buffer.alloc(size, mark, 'latin1');
  // Whole characters only: what is cut in the middle would not be text.
  const unit = Buffer.byteLength(mark);
  return Buffer.from(mark.repeat(Math.max(1, Math.floor(size / unit))));
}
