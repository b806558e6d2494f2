import { config } from 'rxjs';

/** Errors of request streams, and whom to tell that nobody heard of them. */
const known = new WeakMap<object, (() => void) | undefined>();
let handler: typeof config.onUnhandledError = null;

/**
 * Lets `error` be told to an Observable that may have no error handler. RxJS throws what nobody handles from a timer,
 * which ends the process, and a caller that leaves must not end the service. Every other error goes the way it went
 * before: to the hook of the application, or to that throw.
 * @param unheard called when there was no handler
 */
export function mayGoUnheard(error: Error, unheard?: () => void): void {
  known.set(error, unheard);
  // The application may have set its own hook meanwhile.
  if (handler && config.onUnhandledError === handler) return;
  const previous = config.onUnhandledError;
  handler = (thrown: unknown) => {
    if (typeof thrown === 'object' && thrown !== null && known.has(thrown)) return known.get(thrown)?.();
    if (!previous) throw thrown;
    previous(thrown);
  };
  config.onUnhandledError = handler;
}
