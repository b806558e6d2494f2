import { ModulesContainer } from '@nestjs/core';
import { BaseRpcExceptionFilter } from '@nestjs/microservices';
import { DrpcServer } from 'nestjs-drpc';
import { expect, it } from 'vitest';

function methods(): unknown[] {
  return [
    Reflect.get(BaseRpcExceptionFilter.prototype, 'catch'),
    Reflect.get(ModulesContainer.prototype, 'addRpcTarget'),
  ];
}

// In a file of its own: what is changed stays so for the process. Pitfall 27 of Nest transports.
it('importing the library changes nothing in Nest; the first server does, and the second nothing more', () => {
  const imported = methods();
  expect(imported.map((method) => (method as () => void).name)).toEqual(['catch', 'addRpcTarget']);
  void new DrpcServer();
  const first = methods();
  expect(first[0]).not.toBe(imported[0]);
  expect(first[1]).not.toBe(imported[1]);
  void new DrpcServer();
  expect(methods()).toEqual(first);
});
