/** Largest frame that is sent by default, in bytes of data, as in the reference. */
export const DEFAULT_SPLIT_SIZE = 64 * 1024;

/**
 * The data of a packet as the frames carry it: pieces of `size` bytes while more remains, then the rest.
 * Data that fits, empty data included, is one piece; a `size` of 0 is the default, a negative one never
 * splits. The pieces are borrowed views.
 * @see storj/drpc drpcwire/split.go, SplitData
 */
export function splitData(data: Uint8Array, size = DEFAULT_SPLIT_SIZE): Uint8Array[] {
  if (size < 0) return [data];
  const step = size === 0 ? DEFAULT_SPLIT_SIZE : size;
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (; data.length - at > step; at += step) pieces.push(data.subarray(at, at + step));
  pieces.push(data.subarray(at));
  return pieces;
}
