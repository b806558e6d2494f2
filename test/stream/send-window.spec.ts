import { describe, expect, it } from 'vitest';
import { SendWindow } from '../../lib/stream/send-window.js';

describe('SendWindow', () => {
  it('lets messages go while there is credit', () => {
    const window = new SendWindow(100);
    expect([window.acquire(60), window.acquire(40)]).toEqual([true, true]);
    expect(window.balance).toBe(0);
  });

  it('debits first and makes wait below zero', () => {
    const window = new SendWindow(100);
    expect(window.acquire(101)).toBe(false);
    expect(window.balance).toBe(-1);
  });

  it('lets a waiting message go when its debt is paid, not before', () => {
    const window = new SendWindow(10);
    window.acquire(30);
    expect(window.grant(19)).toBe(false);
    expect(window.grant(1)).toBe(true);
    expect(window.balance).toBe(0);
  });

  it('adds grants up, and says nothing when nobody can have waited', () => {
    const window = new SendWindow(10);
    expect([window.grant(5), window.grant(5)]).toEqual([false, false]);
    expect(window.balance).toBe(20);
  });

  it('lets later frames of a message overdraw it', () => {
    const window = new SendWindow(10);
    window.acquire(10);
    window.debit(500);
    expect(window.balance).toBe(-500);
  });

  it('never makes an empty frame wait', () => {
    const window = new SendWindow(10);
    window.debit(20);
    expect(window.acquire(0)).toBe(true);
  });

  it('is not moved by a grant of nothing', () => {
    const window = new SendWindow(10);
    window.acquire(20);
    expect(window.grant(0)).toBe(false);
    expect(window.balance).toBe(-10);
  });

  it('saturates', () => {
    const window = new SendWindow(10);
    window.grant(Number.MAX_SAFE_INTEGER);
    window.grant(Number(2n ** 64n - 1n));
    expect(window.balance).toBe(Number.MAX_SAFE_INTEGER);
  });
});
