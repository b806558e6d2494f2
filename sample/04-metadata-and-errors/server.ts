import 'reflect-metadata';
import { Controller, Module, UseGuards, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload, type MicroserviceOptions } from '@nestjs/microservices';
import { DrpcCode, DrpcException, DrpcMetadata, DrpcServer, type DrpcContext } from 'nestjs-drpc';

class TokenGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const { metadata } = context.switchToRpc().getContext<DrpcContext>();
    if (metadata['authorization'] === 'Bearer secret') return true;
    throw new DrpcException(DrpcCode.Unauthenticated, 'who are you?');
  }
}

@Controller()
@UseGuards(TokenGuard)
class DoorController {
  @MessagePattern('open')
  open(@Payload() door: number, @DrpcMetadata('x-name') name: string): string {
    if (door > 3) throw new DrpcException(DrpcCode.NotFound, `there is no door ${door}`);
    return `door ${door} is open, ${name}`;
  }

  /** What is thrown by mistake stays here: the client learns no more than that it happened. */
  @MessagePattern('break')
  break(): never {
    throw new TypeError('the database password is wrong');
  }
}

@Module({ controllers: [DoorController] })
class DoorModule {}

const app = await NestFactory.createMicroservice<MicroserviceOptions>(DoorModule, {
  strategy: new DrpcServer({ url: 'drpc://127.0.0.1:4004' }),
});
app.enableShutdownHooks();
await app.listen();
console.log('listening');
