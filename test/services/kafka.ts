/** A real Kafka broker for tests (scripts/kafka.mjs), and what a test does with it beside the flow: topics, sending, reading. */
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { until } from '../flows/node-red';
import { palette } from '../flows/palette';
import { ROOT } from '../support';
import { program } from './program';

/** A record as it lies in a topic. */
export interface KafkaRecord {
  partition: number;
  offset: number;
  key?: string;
  value: Buffer | null;
  headers: Record<string, string>;
}

export interface KafkaMessage {
  key?: string;
  value: Buffer | string | null;
  headers?: Record<string, string>;
  partition?: number;
}

export interface BrokerOptions {
  port?: number;
  folder?: string;
  settings?: Record<string, string | number>;
}

export interface Broker {
  brokers: string;
  port: number;
  folder: string;
  log: string[];
  stop: () => Promise<void>;
}

/** What is used of kafkajs, which is no dependency of this package and brings its types only where it is installed. */
interface Kafkajs {
  Kafka: new (options: object) => {
    admin(): {
      connect(): Promise<void>;
      disconnect(): Promise<void>;
      createTopics(options: object): Promise<boolean>;
      alterConfigs(options: object): Promise<unknown>;
      resetOffsets(options: object): Promise<void>;
      describeGroups(ids: string[]): Promise<{ groups: { state: string; members: object[] }[] }>;
    };
    producer(options?: object): {
      connect(): Promise<void>;
      disconnect(): Promise<void>;
      send(options: object): Promise<unknown>;
    };
    consumer(options: object): {
      connect(): Promise<void>;
      disconnect(): Promise<void>;
      subscribe(options: object): Promise<void>;
      run(options: object): Promise<void>;
    };
  };
  logLevel: { NOTHING: number };
}

interface RawRecord {
  partition: number;
  message: {
    offset: string;
    key: Buffer | null;
    value: Buffer | null;
    headers?: Record<string, Buffer>;
  };
}

/** Starts a broker; skips the test with a clear line where Java or Maven is not installed. */
export async function startKafka(context: Mocha.Context, options: BrokerOptions = {}): Promise<Broker> {
  program(context, 'java');
  program(context, 'mvn');
  const { start } = (await import(pathToFileURL(path.join(ROOT, 'scripts/kafka.mjs')).href)) as {
    start: (options: BrokerOptions) => Promise<Broker>;
  };
  return start(options);
}

/** A client of the broker, beside the flow that is tested. */
export class KafkaClient {
  private readonly ends: (() => Promise<unknown>)[] = [];

  private constructor(private readonly kafka: InstanceType<Kafkajs['Kafka']>) {}

  static async to({ brokers }: Pick<Broker, 'brokers'>): Promise<KafkaClient> {
    process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1';
    const load = createRequire(path.join(await palette({ kafkajs: '^2.2.4' }), 'test.js'));
    const { Kafka, logLevel } = load('kafkajs') as Kafkajs;
    const options = { clientId: 'test', brokers: [brokers], logLevel: logLevel.NOTHING, retry: { retries: 10 } };
    return new KafkaClient(new Kafka(options));
  }

  async create(topics: Record<string, number>): Promise<void> {
    const list = Object.entries(topics).map(([topic, numPartitions]) => ({ topic, numPartitions }));
    await this.asAdmin(admin => admin.createTopics({ topics: list, waitForLeaders: true }));
  }

  /** Sets how large a message of a topic may be. */
  async allow(topic: string, bytes: number): Promise<void> {
    const configEntries = [{ name: 'max.message.bytes', value: String(bytes) }];
    const resources = [{ type: 2, name: topic, configEntries }];
    await this.asAdmin(admin => admin.alterConfigs({ resources }));
  }

  /** Lets a group whose members are gone begin at a topic's first message again. */
  async rewind(groupId: string, topic: string): Promise<void> {
    await this.asAdmin(admin => admin.resetOffsets({ groupId, topic, earliest: true }));
  }

  /** Waits until a consumer group has so many members and all of them know their partitions. */
  async joined(group: string, members: number, seconds: number): Promise<void> {
    await this.asAdmin(admin =>
      until(
        async () => (await admin.describeGroups([group])).groups[0],
        ({ state, members: all }) => state === 'Stable' && all.length === members,
        seconds
      )
    );
  }

  async send(topic: string, messages: KafkaMessage[]): Promise<void> {
    const producer = this.kafka.producer();
    await producer.connect();
    await producer.send({ topic, messages });
    await producer.disconnect();
  }

  /** Everything that a topic holds, and what comes; the array grows. */
  async read(topic: string): Promise<KafkaRecord[]> {
    const records: KafkaRecord[] = [];
    const sizes = { maxBytesPerPartition: 2 ** 26, maxBytes: 2 ** 26, maxWaitTimeInMs: 100 };
    const consumer = this.kafka.consumer({ groupId: `test-${randomUUID()}`, ...sizes });
    await consumer.connect();
    this.ends.push(() => consumer.disconnect());
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    const eachMessage = async ({ partition, message }: RawRecord) => {
      const { offset, key, value } = message;
      const headers = Object.entries(message.headers ?? {}).map(([name, bytes]) => [name, bytes.toString()]);
      const rest = { key: key?.toString(), value, headers: Object.fromEntries(headers) as Record<string, string> };
      records.push({ partition, offset: Number(offset), ...rest });
    };
    await consumer.run({ eachMessage });
    return records;
  }

  async close(): Promise<void> {
    await Promise.all(this.ends.map(end => end()));
  }

  private async asAdmin<T>(
    act: (admin: ReturnType<InstanceType<Kafkajs['Kafka']>['admin']>) => Promise<T>
  ): Promise<T> {
    const admin = this.kafka.admin();
    await admin.connect();
    try {
      return await act(admin);
    } finally {
      await admin.disconnect();
    }
  }
}
