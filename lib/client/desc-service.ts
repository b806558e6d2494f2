import { defer, from, switchMap, throwError, type Observable } from 'rxjs';
import { choiceOption } from '../bridge/options.js';
import type { Encoding } from '../encoding/encoding.js';
import { DrpcCode } from '../errors/codes.js';
import { DrpcError } from '../errors/drpc-error.js';
import { escapeName } from '../errors/escape.js';
import { typeName } from '../errors/type-name.js';
import { isDescService, loadDescReader, shapeOf, type DescReader } from '../service/protobuf-es.js';
import type { DescMethod, DescService } from '../service/protobuf-es.types.js';
import type { MethodShape } from '../service/service-definition.js';
import { DrpcRecord, type DrpcCallOptions } from './drpc.record.js';
import {
  faultOf,
  memberName,
  type DrpcServiceCallOptions,
  type DrpcServiceClient,
  type DrpcServiceForm,
  type DrpcServiceOptions,
  type ServiceCaller,
} from './drpc.services.js';

/**
 * The methods of a service of protoc-gen-es, typed by its messages.
 * @throws TypeError for what is no such service, and for a form that there is not.
 */
export function descService<Service extends DescService, Form extends DrpcServiceForm>(
  caller: ServiceCaller,
  service: Service,
  { as }: DrpcServiceOptions<Form>,
): DrpcServiceClient<Service, Form> {
  if (!isDescService(service)) {
    throw new TypeError(`service is ${typeName(service)}: must be a service that protoc-gen-es made`);
  }
  const form = choiceOption<DrpcServiceForm>('as', as, ['promise', 'observable'], 'promise');
  const library = new LateLibrary();
  const methods: Record<string, unknown> = {};
  for (const desc of service.methods) {
    const method = new DescMethodClient(caller, desc, library);
    const name = memberName(desc.localName);
    if (form === 'observable') methods[name] = method.observable;
    else methods[name] = shapeOf(desc).responseStream ? method.iterable : method.promise;
  }
  return methods as DrpcServiceClient<Service, Form>;
}

/** The library, which is imported: calls of the first moments wait for it. */
class LateLibrary {
  reader: DescReader | undefined;
  readonly loaded: Promise<void>;

  constructor() {
    this.loaded = loadDescReader().then((reader) => {
      this.reader = reader;
    });
    this.loaded.catch(() => undefined); // each call is told
  }
}

class DescMethodClient {
  readonly #caller: ServiceCaller;
  readonly #desc: DescMethod;
  readonly #shape: MethodShape;
  readonly #library: LateLibrary;
  #encoding: Encoding | undefined;

  constructor(caller: ServiceCaller, desc: DescMethod, library: LateLibrary) {
    this.#caller = caller;
    this.#desc = desc;
    this.#shape = shapeOf(desc);
    this.#library = library;
  }

  readonly promise = async (data: unknown, options?: DrpcServiceCallOptions): Promise<unknown> => {
    const fault = faultOf(this.#shape, data, options);
    if (fault) throw fault;
    if (!this.#isReady()) await this.#library.loaded;
    const { rpc } = this.#shape;
    const answer = await this.#caller.call(rpc, data, this.#options(options));
    if (answer === undefined) throw noAnswer(rpc);
    return answer;
  };

  readonly iterable = (data: unknown, options?: DrpcServiceCallOptions): AsyncIterable<unknown> => {
    const open = (): AsyncIterator<unknown> => {
      const fault = faultOf(this.#shape, data, options);
      if (fault) throw fault;
      const answers = this.#caller.stream(this.#shape.rpc, data, this.#options(options));
      return answers[Symbol.asyncIterator]();
    };
    return {
      [Symbol.asyncIterator]: () => (this.#isReady() ? open() : new LateIterator(this.#library.loaded, open)),
    };
  };

  readonly observable = (data: unknown, options?: DrpcServiceCallOptions): Observable<unknown> => {
    const fault = faultOf(this.#shape, data, options);
    if (fault) return throwError(() => fault);
    const send = (): Observable<unknown> =>
      this.#caller.send(this.#shape.rpc, new DrpcRecord(data, this.#options(options)));
    return this.#isReady() ? send() : defer(() => from(this.#library.loaded).pipe(switchMap(send)));
  };

  #isReady(): boolean {
    return this.#library.reader !== undefined;
  }

  #options(options: DrpcServiceCallOptions | undefined): DrpcCallOptions {
    this.#encoding ??= this.#library.reader!.method(this.#desc).clientEncoding;
    return { ...options, encoding: this.#encoding };
  }
}

/** An iterator that can not be made before something has been loaded. */
class LateIterator implements AsyncIterator<unknown> {
  readonly #iterator: Promise<AsyncIterator<unknown>>;

  constructor(loaded: Promise<void>, open: () => AsyncIterator<unknown>) {
    this.#iterator = loaded.then(open);
    this.#iterator.catch(() => undefined); // next() tells
  }

  async next(): Promise<IteratorResult<unknown>> {
    return (await this.#iterator).next();
  }

  async return(): Promise<IteratorResult<unknown>> {
    await (await this.#iterator).return?.();
    return { done: true, value: undefined };
  }
}

function noAnswer(rpc: string): DrpcError {
  return new DrpcError(
    DrpcCode.Internal,
    `rpc "${escapeName(rpc)}" ended without an answer: it has to have one`,
  );
}
