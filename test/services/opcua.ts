/** A real OPC UA server with the variables of examples/opcua.json: the PLC's side of the handshake. */
import { createRequire } from 'node:module';
import path from 'node:path';
import { scratch } from '../support';

type Value = boolean | number | string;

interface Variable {
  readValue(): { value: { value: Value } };
  setValueFromSource(variant: object): void;
}

/** What is used of node-opcua, which the palette brings. */
interface NodeOpcua {
  OPCUAServer: new (options: object) => {
    initialize(): Promise<void>;
    start(): Promise<void>;
    shutdown(milliseconds: number): Promise<void>;
    engine: {
      addressSpace: {
        rootFolder: { objects: object };
        getOwnNamespace(): { addObject(options: object): object; addVariable(options: object): Variable };
      };
    };
  };
  OPCUACertificateManager: new (options: object) => object;
  DataType: Record<string, number>;
}

const VARIABLES: Record<string, string> = {
  Trigger: 'Boolean',
  PartId: 'String',
  RecipeId: 'String',
  Ready: 'Boolean',
  Busy: 'Boolean',
  ResultReady: 'Boolean',
  Result: 'Int32',
  ResultPartId: 'String',
  Score: 'Double',
  Threshold: 'Double',
  Detector: 'String',
  ErrorCode: 'Int32',
  ErrorText: 'String',
  Heartbeat: 'UInt32'
};

// one folder for all: making the server's certificate takes seconds
const pki = scratch();

export class Plc {
  private constructor(
    private readonly opcua: NodeOpcua,
    private readonly server: InstanceType<NodeOpcua['OPCUAServer']>,
    private readonly variables: Record<string, Variable>
  ) {}

  /** Starts a server; `modules` is the palette's node_modules. */
  static async start(modules: string, port: number): Promise<Plc> {
    const opcua = createRequire(path.join(modules, 'test.js'))('node-opcua') as NodeOpcua;
    const serverCertificateManager = new opcua.OPCUACertificateManager({
      rootFolder: pki,
      automaticallyAcceptUnknownCertificate: true
    });
    const server = new opcua.OPCUAServer({ port, hostname: '127.0.0.1', serverCertificateManager });
    await server.initialize();
    const { addressSpace } = server.engine;
    const space = addressSpace.getOwnNamespace();
    const vision = space.addObject({ organizedBy: addressSpace.rootFolder.objects, browseName: 'Vision' });
    const variables = Object.fromEntries(
      Object.entries(VARIABLES).map(([browseName, name]) => {
        const dataType = opcua.DataType[name];
        const value = { dataType, value: { Boolean: false, String: '' }[name] ?? 0 };
        const nodeId = `s=Vision.${browseName}`;
        return [browseName, space.addVariable({ componentOf: vision, browseName, nodeId, dataType: name, value })];
      })
    );
    await server.start();
    return new Plc(opcua, server, variables);
  }

  get<T extends Value>(name: string): T {
    return this.variables[name].readValue().value.value as T;
  }

  set(values: Record<string, Value>): void {
    for (const [name, value] of Object.entries(values))
      this.variables[name].setValueFromSource({ dataType: this.opcua.DataType[VARIABLES[name]], value });
  }

  stop(): Promise<void> {
    return this.server.shutdown(0);
  }
}
