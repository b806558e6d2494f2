// The package is an optional peer. Where it is not installed these types are `any`, and the declarations of
// this one still pass a type check. A mark holds for one line, and only in this form do declarations keep it.

/** @ts-ignore: optional peer */
import type { DescMessage, DescMethod, DescService } from '@bufbuild/protobuf';
/** @ts-ignore: optional peer */
import type { MessageInitShape, MessageShape } from '@bufbuild/protobuf';

export type { DescMessage, DescMethod, DescService, MessageInitShape, MessageShape };
