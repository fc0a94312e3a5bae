/** What a person does in Node-RED's editor, for the tests of whole flows: deploy, press a button, look at the sidebar. */
import { createRequire } from 'node:module';
import path from 'node:path';
import { put, scratch } from '../support';
import { startNodeRed, until, type NodeRed } from './node-red';

/** Node 20 has no WebSocket of its own; Node-RED brings one with the same interface. */
export const Socket =
  globalThis.WebSocket ?? (createRequire(require.resolve('node-red/red.js'))('ws') as typeof WebSocket);

export interface FlowNode {
  id: string;
  type: string;
  name?: string;
}

interface Event {
  topic: string;
  data: { id?: string; msg?: string; format?: string; text?: string };
}

export class Editor {
  private nodes: FlowNode[] = [];
  private events: Event[] = [];
  private readonly socket: WebSocket;

  constructor(private readonly nodeRed: NodeRed) {
    this.socket = new Socket(`${nodeRed.url.replace('http', 'ws')}/comms`);
    this.socket.addEventListener('message', ({ data }) => this.events.push(...[JSON.parse(String(data))].flat()));
  }

  async opened(): Promise<this> {
    await new Promise((resolve, reject) => {
      this.socket.addEventListener('open', resolve);
      this.socket.addEventListener('error', reject);
    });
    return this;
  }

  /** Puts these nodes in the place of all that runs. @returns what Node-RED logged until they ran */
  async deploy(nodes: FlowNode[]): Promise<string[]> {
    const { log, url } = this.nodeRed;
    const before = log.length;
    this.nodes = nodes;
    this.events = [];
    await post(`${url}/flows`, JSON.stringify(nodes));
    const logged = async () => log.slice(before);
    return until(logged, lines => lines.some(line => /Started flows|Waiting for missing types/.test(line)), 10);
  }

  /** Presses an inject node's button. */
  press(name: string): Promise<void> {
    return post(`${this.nodeRed.url}/inject/${this.node('inject', name).id}`, '{}');
  }

  /** Everything that a debug node showed since the deploy. */
  debugged<T>(name: string): T[] {
    const { id } = this.node('debug', name);
    const shown = this.events.filter(({ topic, data }) => topic === 'debug' && data.id === id);
    return shown.map(({ data: { msg, format } }) => (/^(Object|array)/.test(format!) ? JSON.parse(msg!) : msg));
  }

  /** Waits until a debug node has shown so many. */
  shown<T>(name: string, count: number, seconds = 15): Promise<T[]> {
    return until(
      async () => this.debugged<T>(name),
      all => all.length >= count,
      seconds
    );
  }

  /** The text under a node. */
  status(type: string, name: string): string | undefined {
    const { id } = this.node(type, name);
    return this.events.findLast(({ topic }) => topic === `status/${id}`)?.data.text;
  }

  close(): void {
    this.socket.close();
  }

  private node(type: string, name: string): FlowNode {
    const found = this.nodes.find(node => node.type === type && node.name === name);
    if (!found) throw new Error(`There is no ${type} node "${name}".`);
    return found;
  }
}

async function post(url: string, body: string): Promise<void> {
  const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  if (!response.ok) throw new Error(`${url} answers ${response.status}: ${await response.text()}`);
  await response.body?.cancel();
}

/** A Node-RED without flows, and its editor. */
export async function openEmpty(): Promise<{ nodeRed: NodeRed; editor: Editor }> {
  const empty = path.join(scratch(), 'flows.json');
  put(empty, '[]');
  const nodeRed = await startNodeRed({ flows: empty });
  return { nodeRed, editor: await new Editor(nodeRed).opened() };
}
