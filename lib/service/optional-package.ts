/**
 * The error for an optional package that could not be loaded: says which one to install and what for. Any
 * other error, of a package that is there and broken, is answered as it is.
 */
export function packageError(error: unknown, name: string, purpose: string): unknown {
  const { code, message } = error as { code?: unknown; message?: unknown };
  const isMissing = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND';
  // What is missing may also be a package that this one needs.
  if (!isMissing || !String(message).split('\n', 1)[0]!.includes(`'${name}'`)) return error;
  return new Error(`${purpose} needs the package ${name}, which is not installed: npm install ${name}`, {
    cause: error,
  });
}
