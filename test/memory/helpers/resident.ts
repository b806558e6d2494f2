import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const KIB = 1024;

/** Bytes of memory that a process holds just now, seen from outside. */
export function residentSize(pid: number): number {
  return statusOf(pid, 'VmRSS') ?? residentByPs(pid);
}

/** The most it ever held, where the system remembers that; otherwise what it holds now. */
export function residentPeak(pid: number): number {
  return statusOf(pid, 'VmHWM') ?? residentByPs(pid);
}

function statusOf(pid: number, field: string): number | undefined {
  if (process.platform !== 'linux') return undefined;
  const line = readFileSync(`/proc/${pid}/status`, 'utf8').match(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm'));
  if (!line) throw new Error(`/proc/${pid}/status has no ${field}`);
  return Number(line[1]) * KIB;
}

function residentByPs(pid: number): number {
  return Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })) * KIB;
}
