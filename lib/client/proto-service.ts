import { throwError, type Observable } from 'rxjs';
import { escapeName } from '../errors/escape.js';
import { typeName } from '../errors/type-name.js';
import { findServices, type ServiceDefinition } from '../service/service-definition.js';
import { DrpcRecord } from './drpc.record.js';
import { faultOf, memberName, type DrpcServiceCallOptions, type ServiceCaller } from './drpc.services.js';

/**
 * The methods of a service of .proto files, by their names there and in camel case, as Nest's ClientGrpc has
 * them: each gives a cold Observable.
 * @throws Error that names the services there are; TypeError for what is no name.
 */
export function protoService(
  caller: ServiceCaller,
  services: readonly ServiceDefinition[],
  name: string,
): object {
  if (typeof name !== 'string') throw new TypeError(`service is ${typeName(name)}: must be a name`);
  const [service] = findServices(services, name);
  if (!service) throw noService(name, services);
  const methods: Record<string, unknown> = {};
  for (const method of service.methods) {
    const { rpc, clientEncoding: encoding } = method;
    const call = (data: unknown, options?: DrpcServiceCallOptions): Observable<unknown> => {
      const fault = faultOf(method, data, options);
      if (fault) return throwError(() => fault);
      return caller.send(rpc, new DrpcRecord(data, { ...options, encoding }));
    };
    methods[memberName(method.name)] = call;
    methods[memberName(method.localName)] = call;
  }
  return methods;
}

function noService(name: string, services: readonly ServiceDefinition[]): Error {
  const what = `no definition of the service "${escapeName(name)}"`;
  return new Error(
    services.length === 0
      ? `${what}: set package and protoPath in the options of the client`
      : `${what}: the loaded services are ${services.map((service) => service.name).join(', ')}`,
  );
}
