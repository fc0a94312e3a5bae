import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { KafkaClient, startKafka, type Broker } from '../services/kafka';
import { put, ROOT, scratch } from '../support';
import { Editor, type FlowNode } from './editor';
import { startNodeRed, until, type NodeRed } from './node-red';
import { INSTALLING, modulesOf } from './palette';

/** A client of /stream_predict, as a browser's EventSource is one. */
class Listener {
  text = '';
  ended = false;
  private constructor(
    private readonly request: http.ClientRequest,
    readonly answer: http.IncomingMessage
  ) {
    answer.setEncoding('utf8').on('data', (some: string) => (this.text += some));
    answer.on('close', () => (this.ended = true));
    answer.on('error', () => {});
  }

  static async to(url: string): Promise<Listener> {
    const request = http.get(`${url}/stream_predict`, { agent: false });
    const answer = await new Promise<http.IncomingMessage>((resolve, reject) => {
      request.on('response', resolve);
      request.on('error', reject);
    });
    return new Listener(request, answer);
  }

  /** What came until now, by kind. */
  get events(): { event: string; data: { part?: number; skipped?: number } }[] {
    return this.text.split('\n\n').flatMap(block => {
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (!data) return [];
      return [{ event: /^event: (.*)$/m.exec(block)?.[1] ?? 'message', data: JSON.parse(data) as { part: number } }];
    });
  }

  get parts(): number[] {
    return this.events.flatMap(({ data }) => data.part ?? []);
  }

  leave(): void {
    this.request.destroy();
  }
}

describe('GET /stream_predict', function () {
  this.timeout(90_000);
  let broker: Broker;
  let kafka: KafkaClient;
  let nodeRed: NodeRed;
  let editor: Editor;
  let nodes: FlowNode[];
  let sent = 0;
  const all: Listener[] = [];

  before(async function () {
    this.timeout(INSTALLING);
    broker = await startKafka(this);
    kafka = await KafkaClient.to(broker);
    await kafka.create({ verdicts: 1 });
    const place = path.join(scratch(), 'flows.json');
    put(place, '[]');
    nodes = JSON.parse(fs.readFileSync(path.join(ROOT, 'examples/http-patchcore-kafka.json'), 'utf8')) as FlowNode[];
    const env = { KAFKA_BROKERS: broker.brokers, GOODPARTS_MAX_STREAMS: '25' };
    nodeRed = await startNodeRed({ flows: place, palette: modulesOf(nodes), env });
    editor = await new Editor(nodeRed).opened();
    await editor.deploy(nodes);
  });
  after(async () => {
    all.forEach(listener => listener.leave());
    editor?.close();
    await nodeRed?.stop();
    await kafka?.close();
    await broker?.stop();
  });

  const listen = async (): Promise<Listener> => {
    const listener = await Listener.to(nodeRed.url);
    all.push(listener);
    return listener;
  };
  /** Verdicts into the topic, as the inspection of kafka.json sends them. */
  async function send(count: number, ballast = ''): Promise<void> {
    const verdicts = Array.from({ length: count }, () =>
      JSON.stringify({ part: ++sent, verdict: 'ok', ballast }, null, 1)
    );
    await kafka.send(
      'verdicts',
      verdicts.map(value => ({ value }))
    );
  }
  const listening = (text: string) =>
    until(
      async () => editor.status('function', 'stream'),
      shown => shown === text,
      10
    );

  it('sends what comes into the topic to everybody who listens', async () => {
    const listeners = await Promise.all(Array.from({ length: 20 }, listen));
    for (const { answer } of listeners) assert.equal(answer.headers['content-type'], 'text/event-stream');
    await listening('20 listening');
    // the consumer joins its group within seconds, and reads what comes from then on
    await until(
      async () => {
        await send(1);
        return listeners[0].parts.length;
      },
      count => count > 0,
      60
    );
    const before = sent;
    await send(5);
    const last = [1, 2, 3, 4, 5].map(i => before + i);
    await until(
      async () => listeners.map(({ parts }) => parts.slice(-5).join()),
      heard => heard.every(text => text === last.join()),
      20
    );
  });

  it('forgets those who leave, and lets the others hear on', async () => {
    for (const listener of all.slice(0, 15)) listener.leave();
    await listening('5 listening');
    await send(1);
    await until(
      async () => all.slice(15).map(({ parts }) => parts.at(-1)),
      heard => heard.every(part => part === sent),
      20
    );
  });

  it('lets only so many listen', async () => {
    for (let i = 0; i < 20; i++) await listen();
    const refused = await fetch(`${nodeRed.url}/stream_predict`);
    assert.equal(refused.status, 503);
    assert.equal(((await refused.json()) as { code: string }).code, 'streams-full');
    all.splice(20).forEach(listener => listener.leave());
    await listening('5 listening');
  });

  it('keeps little for one that reads slowly, and tells it what it missed', async () => {
    const slow = await listen();
    const quick = all[15];
    slow.answer.pause();
    const first = sent + 1;
    // more than the sockets of both ends take in
    for (let i = 0; i < 30; i++) await send(10, 'x'.repeat(60_000));
    await until(
      async () => quick.parts.at(-1),
      part => part === sent,
      30
    );
    assert.equal(quick.parts.filter(part => part >= first).length, 300);
    slow.answer.resume();
    const skipped = () =>
      slow.events.filter(({ event }) => event === 'skipped').reduce((sum, { data }) => sum + data.skipped!, 0);
    // one part a second until nothing is under way any more: the number of those missed comes with the part after them
    await until(
      async () => {
        if (slow.parts.at(-1) === sent && skipped() > 0) return true;
        await send(1);
        await new Promise(resolve => setTimeout(resolve, 1000));
        return false;
      },
      caughtUp => caughtUp,
      60
    );
    assert.equal(slow.parts.length + skipped(), sent - first + 1);
  });

  it('goes on after the broker was away, and ends with the flow', async () => {
    const { port, folder } = broker;
    await broker.stop();
    await new Promise(resolve => setTimeout(resolve, 1000));
    assert.equal((await fetch(`${nodeRed.url}/openapi.json`)).status, 200);
    broker = await startKafka(this as unknown as Mocha.Context, { port, folder });
    const before = sent;
    await until(
      async () => {
        await send(1);
        return all[15].parts.at(-1)!;
      },
      part => part > before,
      60
    );
    await editor.deploy([]);
    await until(
      async () => all.slice(15, 20),
      some => some.every(({ ended }) => ended),
      10
    );
  });
});
