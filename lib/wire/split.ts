/** Largest frame that is sent by default, in bytes of data, as in the reference. */
export const DEFAULT_SPLIT_SIZE = 64 * 1024;
