/**
 * Writes `easter.csv`: the date of Easter Sunday in each year of the Gregorian calendar up to 2999, by the
 * calendar's own published rule (the computus). Run it with `node dist-sample/main-job/make-data.js`.
 */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

export const FIRST_YEAR = 1583;
export const LAST_YEAR = 2999;

/** Easter Sunday of a Gregorian year as `MM-DD`. */
export function easterSunday(year: number): string {
  const golden = year % 19;
  const century = Math.floor(year / 100);
  // The moon's age on 21 March, with the solar and lunar corrections of the calendar reform.
  const corrected = century - Math.floor(century / 4) - Math.floor((8 * century + 13) / 25);
  let epact = (corrected + 19 * golden + 15) % 30;
  epact -= epact > 28 || (epact === 28 && golden > 10) ? 1 : 0;
  const weekday = (year + Math.floor(year / 4) + epact + 2 - century + Math.floor(century / 4)) % 7;
  const days = 28 + epact - weekday;
  const [month, day] = days > 31 ? [4, days - 31] : [3, days];
  return `0${month}-${String(day).padStart(2, '0')}`;
}

/** The whole file. */
export function easterTable(): string {
  const lines = ['year,easter'];
  for (let year = FIRST_YEAR; year <= LAST_YEAR; year++) lines.push(`${year},${easterSunday(year)}`);
  return `${lines.join('\n')}\n`;
}

/** What both sides of the main job print of the rows they saw. */
export class Checksum {
  readonly #hash = createHash('sha256');
  count = 0;

  add(row: string): void {
    this.#hash.update(row).update('\n');
    this.count++;
  }

  toString(): string {
    return `${this.count} rows, checksum ${this.#hash.copy().digest('hex').slice(0, 12)}`;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  writeFileSync(process.argv[2] ?? 'easter.csv', easterTable());
}
