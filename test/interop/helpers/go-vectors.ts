import { readFileSync } from 'node:fs';

/** The fixtures that the Go packages write; test/interop/go/README.md describes them. Bytes are hex. */
export interface StorjVectors {
  readonly varints: readonly {
    readonly name: string;
    readonly hex: string;
    readonly value?: string;
    /** The shortest form, which is what writers write. */
    readonly minimal: boolean;
    readonly more?: boolean;
    readonly error?: string;
  }[];
  readonly frames: readonly {
    readonly name: string;
    readonly hex: string;
    readonly kind: number;
    readonly stream: string;
    readonly message: string;
    readonly done: boolean;
    readonly control: boolean;
    readonly data: string;
    readonly rest?: string;
    readonly more?: boolean;
    readonly error?: string;
  }[];
  readonly packets: readonly {
    readonly name: string;
    readonly kind: number;
    readonly length: number;
    readonly split: number;
    readonly frames: readonly string[];
  }[];
  readonly largePackets: readonly {
    readonly name: string;
    readonly length: number;
    readonly split: number;
    readonly headers: readonly string[];
    readonly lengths: readonly number[];
  }[];
  readonly metadata: readonly {
    readonly name: string;
    readonly hex: string;
    readonly entries: Readonly<Record<string, string>>;
    readonly written: boolean;
    readonly error?: string;
  }[];
  readonly errors: readonly ErrorVector<string>[];
  readonly readings: readonly {
    readonly name: string;
    readonly hex: string;
    readonly limit?: number;
    readonly packets: readonly Packet[];
    readonly error?: string;
  }[];
  readonly transcripts: readonly Transcript[];
}

/** Of a multiplexing peer. */
export interface StatusVectors {
  readonly errors: readonly ErrorVector<number>[];
  readonly transcripts: readonly Transcript[];
}

export interface ErrorVector<Code> {
  readonly name: string;
  readonly hex: string;
  readonly code: Code;
  readonly message: string;
  readonly details?: readonly { readonly typeUrl: string; readonly value: string }[];
  /** What Go writes; the others it only reads. */
  readonly written: boolean;
}

export interface Packet {
  readonly kind: number;
  readonly stream: string;
  readonly message: string;
  readonly control: boolean;
  readonly data: string;
}

/** All frames of a connection between a Go client and a Go server. */
export interface Transcript {
  readonly name: string;
  readonly note?: string;
  readonly client: readonly string[];
  readonly server: readonly string[];
  readonly received: readonly string[];
  readonly error?: { readonly class: string; readonly code: number; readonly message: string };
}

function load<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../fixtures/${name}`, import.meta.url), 'utf8')) as T;
}

export const storjVectors = load<StorjVectors>('go-storj-vectors.json');
export const standInVectors = load<StatusVectors>('go-muxstandin-vectors.json');
export const cockroachVectors = load<StatusVectors>('go-cockroach-vectors.json');
