import { concatMap, firstValueFrom, from, of, type Observable } from 'rxjs';
import {
  DrpcClient,
  DrpcException,
  DrpcMethod,
  DrpcService,
  DrpcStream,
  type DrpcContext,
} from 'nestjs-drpc';
import { badRequest, decodeDetails, errorInfo } from 'nestjs-drpc/protobuf';
import { Books, type Book, type BookId, type Receipt, type Shelf } from './gen/books_pb.js';

@DrpcService()
export class BooksController {
  @DrpcMethod(Books.method.find)
  find({ id }: BookId, { signal }: DrpcContext): Promise<Pick<Book, 'id' | 'title'>> {
    if (id < 0n) {
      throw DrpcException.invalidArgument('id is negative', {
        details: [
          badRequest([{ field: 'id', description: 'must be 0 or more' }]),
          errorInfo({ reason: 'NEGATIVE_ID', domain: 'books.example' }),
        ],
      });
    }
    return fetchTitle(id, signal).then((title) => ({ id, title }));
  }

  @DrpcMethod(Books.method.list)
  async *list({ name }: Shelf): AsyncGenerator<{ title: string }> {
    yield { title: `first of ${name}` };
    yield { title: `last of ${name}` };
  }

  @DrpcMethod(Books.method.lend)
  async lend(@DrpcStream({ as: 'iterable' }) ids: AsyncIterable<BookId>): Promise<Pick<Receipt, 'count'>> {
    let count = 0;
    for await (const _ of ids) count++;
    return { count };
  }

  @DrpcMethod(Books.method.recommend)
  recommend(ids: Observable<BookId>): Observable<{ title: string }> {
    return ids.pipe(concatMap(({ id }) => of({ title: `more like ${id}` })));
  }
}

async function fetchTitle(id: bigint, _signal: AbortSignal): Promise<string> {
  return `book ${id}`;
}

export async function callFromDescriptors(port: number): Promise<unknown[]> {
  const client = new DrpcClient({ port });

  const books = client.service(Books);
  const { title } = await books.find({ id: 7n }, { timeout: 500 });
  const titles: string[] = [];
  for await (const book of books.list({ name: 'poetry' })) titles.push(book.title);
  const { count } = await books.lend(from([{ id: 1n }, { id: 2n }]));

  const books$ = client.service(Books, { as: 'observable' });
  const more = await firstValueFrom(books$.recommend(of({ id: 7n })));

  const fields: string[] = [];
  try {
    await books.find({ id: -1n });
  } catch (error) {
    const { badRequest: request, errorInfo: info } = decodeDetails(error);
    fields.push(info!.reason, ...request!.fieldViolations.map(({ field }) => field));
  }

  await client.close();
  return [title, titles, count, more.title, fields];
}
