import type { Type } from '@nestjs/common';
import { encodeBadRequest, type FieldViolation } from '../errors/bad-request.js';
import { DrpcCode } from '../errors/codes.js';
import { DrpcError } from '../errors/drpc-error.js';
import { escapeName } from '../errors/escape.js';
import { typeName } from '../errors/type-name.js';
import { textOfViolations } from './violations.js';

/** How the messages of a stream are checked: the class they become, and class-validator's own options. */
export interface MessageRule {
  readonly type: Type<object>;
  readonly validation?: Readonly<Record<string, unknown>>;
}

/** Below this depth a value does not exhaust the stack, even where rules and transformations add calls of their own. */
const MAX_SAFE_DEPTH = 200;

/** Makes an instance of a message's value and checks it. @throws DrpcError with code 3 and what is wrong. */
export type MessageValidator = (value: unknown) => unknown;

interface Violation {
  property: string;
  constraints?: Record<string, string>;
  children?: Violation[];
}

interface Packages {
  readonly plainToInstance: (type: Type<object>, value: object) => object;
  readonly validateSync: (value: object, options: object) => Violation[];
}

/**
 * A validator by class-transformer and class-validator, which are loaded only here. Checks that need to wait
 * (asynchronous validators) are left out: messages of a stream are told in the turn in which they come.
 * @param rpc named where the messages can not be checked
 * @throws Error that says what to install.
 */
export async function loadMessageValidator(
  rpc: string,
  { type, validation }: MessageRule,
): Promise<MessageValidator> {
  const { plainToInstance, validateSync } = await loadPackages();
  // Nest's own ValidationPipe lets values without any rule pass as well.
  const options = { forbidUnknownValues: false, ...validation };
  return (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw invalid([{ field: '', description: `message is ${typeName(value)}: must be an object` }]);
    }
    try {
      const instance = plainToInstance(type, value);
      const violations = validateSync(instance, options);
      if (violations.length > 0) throw invalid(violations.flatMap((violation) => fieldsOf(violation, '')));
      return instance;
    } catch (error) {
      // Both packages go down by recursion: what exhausts the stack there is the sender's doing, other faults are not.
      if (error instanceof RangeError && isDeeperThan(value, MAX_SAFE_DEPTH)) throw tooDeep(rpc, error);
      throw error;
    }
  };
}

/** Looks level by level, without recursion. */
function isDeeperThan(value: object, max: number): boolean {
  let level = [value];
  for (let depth = 0; depth <= max; depth++) {
    const next: object[] = [];
    for (const outer of level) {
      for (const inner of Object.values(outer)) {
        if (typeof inner === 'object' && inner !== null && !ArrayBuffer.isView(inner))
          next.push(inner as object);
      }
    }
    if (next.length === 0) return false;
    level = next;
  }
  return true;
}

function tooDeep(rpc: string, cause: RangeError): DrpcError {
  const message = `message of "${escapeName(rpc)}" is nested too deep`;
  return new DrpcError(DrpcCode.InvalidArgument, message, { cause });
}

async function loadPackages(): Promise<Packages> {
  try {
    const [transformer, validator] = await Promise.all([
      import('class-transformer'),
      import('class-validator'),
    ]);
    return { plainToInstance: transformer.plainToInstance, validateSync: validator.validateSync };
  } catch (error) {
    throw new Error(
      '@DrpcStream with a class needs class-validator and class-transformer: npm install class-validator class-transformer',
      { cause: error },
    );
  }
}

function fieldsOf({ property, constraints = {}, children = [] }: Violation, path: string): FieldViolation[] {
  const field = path + property;
  const own = Object.values(constraints).map((text) => ({ field, description: path + text }));
  return [...own, ...children.flatMap((child) => fieldsOf(child, `${field}.`))];
}

function invalid(violations: readonly FieldViolation[]): DrpcError {
  const details = [encodeBadRequest(violations)];
  return new DrpcError(DrpcCode.InvalidArgument, textOfViolations(violations), { details });
}
