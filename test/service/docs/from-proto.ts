import { join } from 'node:path';
import { count, firstValueFrom, map, of, type Observable } from 'rxjs';
import { DrpcClient, DrpcMethod, DrpcServer, DrpcService, type DrpcContext } from 'nestjs-drpc';

const folder = import.meta.dirname;

export const proto = {
  package: 'books.v1',
  protoPath: join(folder, 'books.proto'),
  loader: { longs: String, defaults: true },
};

export const strategy = new DrpcServer({ url: 'drpc://127.0.0.1:4000', ...proto });

interface BookId {
  id: string;
}

interface Book {
  id: string;
  title: string;
}

@DrpcService()
export class BooksController {
  @DrpcMethod('Books', 'Find')
  find({ id }: BookId, context: DrpcContext): Book {
    return { id, title: `${context.metadata['language'] ?? 'en'}: book ${id}` };
  }

  @DrpcMethod('Books')
  async *list({ name }: { name: string }): AsyncGenerator<Partial<Book>> {
    yield { title: `first of ${name}` };
    yield { title: `last of ${name}` };
  }

  @DrpcMethod('Books')
  lend(ids: Observable<BookId>): Observable<{ count: number }> {
    return ids.pipe(
      count(),
      map((books) => ({ count: books })),
    );
  }

  @DrpcMethod('books.v1.Books')
  recommend(ids: Observable<BookId>): Observable<Partial<Book>> {
    return ids.pipe(map(({ id }) => ({ title: `more like ${id}` })));
  }
}

interface Books {
  find(id: BookId, options?: { metadata?: Record<string, string> }): Observable<Book>;
  list(shelf: { name: string }): Observable<Book>;
  lend(ids: Observable<BookId>): Observable<{ count: number }>;
}

export async function callFromProto(port: number): Promise<unknown[]> {
  const client = new DrpcClient({ port, ...proto });
  const books = client.getService<Books>('Books');

  const book = await firstValueFrom(books.find({ id: '7' }, { metadata: { language: 'fr' } }));
  const receipt = await firstValueFrom(books.lend(of({ id: '1' }, { id: '2' })));

  await client.close();
  return [book, receipt];
}
