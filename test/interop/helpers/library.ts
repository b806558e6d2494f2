// The code of docs/go-interop.md.
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { DrpcClient, DrpcCode, DrpcContext, DrpcError, DrpcException } from 'nestjs-drpc';
import { from, type Observable } from 'rxjs';

interface Book {
  title: string;
  year: number;
}

const BOOKS: Book[] = [
  { title: 'Flatland', year: 1884 },
  { title: 'Frankenstein', year: 1818 },
  { title: 'Middlemarch', year: 1871 },
];

@Controller()
export class LibraryController {
  readonly readers: (string | undefined)[] = [];
  readonly returned: string[] = [];

  @MessagePattern('/library.Books/Find')
  find(@Payload() { title }: { title: string }, @Ctx() context: DrpcContext): Book {
    this.readers.push(context.metadata['reader']);
    const book = BOOKS.find((each) => each.title === title);
    if (!book) throw new DrpcException(DrpcCode.NotFound, `no book is called ${title}`);
    return book;
  }

  @MessagePattern('/library.Books/List')
  list(): Observable<Book> {
    return from(BOOKS);
  }

  @EventPattern('/library.Books/Returned')
  onReturn(@Payload() { title }: { title: string }): void {
    this.returned.push(title);
  }
}

/** Calls the Go service. */
export async function readBooks(url: string): Promise<string[]> {
  const lines: string[] = [];
  const books = new DrpcClient({ url, peer: 'storj' });

  const book = await books.call<Book>('/library.Books/Find', { title: 'Flatland' }, { timeout: 5000 });
  lines.push(`${book!.title} ${book!.year}`);

  try {
    await books.call('/library.Books/Find', { title: 'Nothing' });
  } catch (error) {
    if (error instanceof DrpcError) lines.push(`${error.code} ${error.message}`);
  }

  for await (const { title } of books.stream<Book>('/library.Books/List', {})) lines.push(title);

  await books.close();
  return lines;
}
