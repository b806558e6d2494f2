import { spread, type Summary } from '../statistics.js';
import type { Unit } from '../workloads.js';

/** A ratio or a plain number with two to three digits that count. */
export function short(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size >= 100) return Math.round(value).toLocaleString('en-US');
  if (size >= 10) return value.toFixed(1);
  if (size >= 0.1) return value.toFixed(2);
  return value.toFixed(size >= 0.01 ? 3 : 4);
}

/** The median, and how far the rounds lie from it: `0.42 ±6%`. */
export function withSpread(summary: Summary): string {
  return `${short(summary.median)} ±${Math.round((spread(summary) / 2) * 100)}%`;
}

export function withUnit(value: number, unit: Unit): string {
  if (unit === 'per s' && value >= 1e6) return `${short(value / 1e6)} M/s`;
  if (unit === 'per s' && value >= 1e3) return `${short(value / 1e3)} k/s`;
  if (unit === 'per s') return `${short(value)} /s`;
  return `${short(value)} ${unit}`;
}
