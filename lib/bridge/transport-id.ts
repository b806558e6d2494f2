/** The transport's id: `@MessagePattern('sum', DRPC_TRANSPORT)` pins a handler to it. */
export const DRPC_TRANSPORT: unique symbol = Symbol.for('nestjs-drpc');
