/** A real Mosquitto for tests (scripts/mosquitto.mjs), and a client beside the flow that is tested: the camera, or who listens. */
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../support';
import { program } from './program';

export interface Mosquitto {
  url: string;
  port: number;
  folder: string;
  stop: () => Promise<void>;
}

/** Starts a broker; skips the test with a clear line where Mosquitto is not installed. */
export async function startMosquitto(
  context: Mocha.Context,
  options: { port?: number; folder?: string } = {}
): Promise<Mosquitto> {
  const binary = program(context, 'mosquitto');
  const { start } = (await import(pathToFileURL(path.join(ROOT, 'scripts/mosquitto.mjs')).href)) as {
    start: (options: object) => Promise<Mosquitto>;
  };
  return start({ program: binary, ...options });
}

/** What is used of mqtt.js, which Node-RED brings. */
interface Client {
  on(event: 'message', take: (topic: string, payload: Buffer, packet: { retain: boolean }) => void): void;
  publishAsync(topic: string, payload: string | Buffer, options: object): Promise<unknown>;
  subscribeAsync(topics: string[], options: object): Promise<unknown>;
  endAsync(force?: boolean): Promise<void>;
}

export interface Heard {
  topic: string;
  payload: Buffer;
  retain: boolean;
}

/** A client that remembers all that it hears, in the order in which it came, also what came while it was not connected. */
export class MqttClient {
  readonly heard: Heard[] = [];

  private constructor(private readonly client: Client) {
    client.on('message', (topic, payload, { retain }) => this.heard.push({ topic, payload, retain }));
  }

  static async to(url: string, ...topics: string[]): Promise<MqttClient> {
    const load = createRequire(
      createRequire(require.resolve('node-red/red.js')).resolve('@node-red/nodes/package.json')
    );
    const { connectAsync } = load('mqtt') as { connectAsync: (url: string, options: object) => Promise<Client> };
    const clientId = `test-${Math.random().toString(36).slice(2)}`;
    const one = new MqttClient(await connectAsync(url, { clientId, clean: false, reconnectPeriod: 300 }));
    await one.client.subscribeAsync(topics, { qos: 1 });
    return one;
  }

  /** Sends with QoS 1; the promise is kept when the broker has it. */
  async send(topic: string, payload: string | Buffer | object, options: object = {}): Promise<void> {
    const body = typeof payload === 'string' || Buffer.isBuffer(payload) ? payload : JSON.stringify(payload);
    await this.client.publishAsync(topic, body, { qos: 1, ...options });
  }

  /** The JSON texts heard on a topic. */
  on<T>(topic: string): T[] {
    return this.heard.filter(one => one.topic === topic).map(({ payload }) => JSON.parse(payload.toString()) as T);
  }

  close(): Promise<void> {
    return this.client.endAsync(true);
  }
}
