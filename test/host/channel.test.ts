import assert from 'node:assert/strict';
import fs from 'node:fs';
import v8 from 'node:v8';
import { Channel, MEMORY_FD, shareMemory, type Envelope } from '../../lib/host/channel';
import { EngineClient } from '../../lib/host';
import { clientOptions, fitted, part, until } from '../nodes/helper';
import { scratch } from '../support';

const MB = 2 ** 20;

interface Message {
  name: string;
  images?: Uint8Array[];
  map?: { data: Buffer; width: number };
}

const opened: number[] = [];

/** Both ends in one process, with what travels between them in the hand. */
function ends(memory = shared()) {
  const there: Envelope[] = [];
  const back: Envelope[] = [];
  const near = new Channel<Message, Message>(envelope => there.push(structuredClone(envelope)), memory, 0);
  const far = new Channel<Message, Message>(envelope => back.push(structuredClone(envelope)), memory, 1);
  return { near, far, there, back };
}

/** Given back after the test: a container may have little of it. */
function shared(): number | undefined {
  const memory = shareMemory();
  if (memory !== undefined) opened.push(memory);
  return memory;
}

const bytes = (length: number, first: number) => Buffer.alloc(length, first).fill(first + 1, length - 1);
const buffers = ({ images }: Message) => images!.map(image => Buffer.from(image));
/** What really goes through the channel. */
const weight = (envelope: Envelope) => v8.serialize(envelope).length;

describe('The channel to the engine process', function () {
  before(function () {
    if (shared() !== undefined) return;
    console.log('      skipped: this system has no memory for files (/dev/shm)');
    this.skip();
  });
  afterEach(() => opened.splice(0).forEach(memory => fs.closeSync(memory)));

  it('brings pictures and maps through shared memory, whole and in order, both ways', () => {
    const { near, far, there, back } = ends();
    for (let i = 0; i < 100; i++) {
      // 3 MB three times do not fit into 8 MB end to end: the ring begins anew
      const images = [bytes(i % 3 ? 50_000 + i : 3 * MB, i), bytes(20_001, i + 100)];
      near.send({ name: `picture ${i}`, images });
      assert.ok(weight(there[0]) < 400, 'the bytes are not in the message');
      const received = far.received(there.shift()!);
      assert.equal(received.name, `picture ${i}`);
      assert.deepEqual(received.images, images);
      far.send({ name: 'map', map: { data: bytes(MB, i), width: 512 } });
      assert.ok(weight(back[0]) < 400);
      const { map } = near.received(back.shift()!);
      assert.ok(map!.data.equals(bytes(MB, i)) && map!.data.byteOffset % 4 === 0 && map!.width === 512);
    }
  });

  it('writes over nothing that is not read yet: what does not fit goes with its message', () => {
    const { near, far, there, back } = ends();
    const images = Array.from({ length: 6 }, (_, i) => bytes(2.5 * MB, i));
    images.forEach((image, i) => near.send({ name: String(i), images: [image] }));
    assert.deepEqual(
      there.map(envelope => weight(envelope) < 400),
      [true, true, true, false, false, false]
    );
    for (const image of images) assert.deepEqual(buffers(far.received(there.shift()!)), [image]);
    near.send({ name: 'the other end has not said yet what it read', images: [images[0]] });
    far.received(there.shift()!);
    far.send({ name: 'now it has' });
    near.received(back.shift()!);
    near.send({ name: 'there is room', images: [images[0]] });
    assert.ok(weight(there[0]) < 400);
    assert.deepEqual(far.received(there[0]).images, [images[0]]);
  });

  it('carries bytes in the message where they are few or more than all the memory, or it cannot be written', () => {
    const unwritable = fs.openSync('/dev/null', 'r');
    opened.push(unwritable);
    for (const [length, memory] of [
      [100, shared()],
      [9 * MB, shared()],
      // nothing can be written to it, as where the system's memory is full
      [50_000, unwritable]
    ] as const) {
      const { near, far, there } = ends(memory);
      near.send({ name: 'x', images: [bytes(length, 5)] });
      assert.ok(weight(there[0]) > length);
      assert.deepEqual(buffers(far.received(there[0])), [bytes(length, 5)]);
    }
  });

  it('takes nothing that somebody sent for a place in the memory', () => {
    const { near, far, there } = ends();
    const message = { name: 'x', images: [bytes(50_000, 7)], more: { path: ['name'], sharedAt: 0, length: 40_000 } };
    near.send(message);
    const received = far.received(there.shift()!);
    assert.deepEqual(received, message);
    near.send({ name: 'next', images: [bytes(50_000, 8)] });
    assert.deepEqual(buffers(far.received(there.shift()!)), [bytes(50_000, 8)]);
  });

  it('has room again where a message could not be sent, and leaves what it was given as it is', () => {
    const { near, far, there } = ends();
    const image = bytes(3 * MB, 1);
    for (let i = 0; i < 5; i++) {
      const message = { name: 'x', images: [image], odd: () => {} };
      assert.throws(() => near.send(message), /could not be cloned/);
      assert.equal(message.images[0], image);
    }
    near.send({ name: 'y', images: [image] });
    assert.ok(weight(there[0]) < 400);
    assert.deepEqual(buffers(far.received(there[0])), [image]);
  });

  it('leaves no file behind, also where the process is killed, and gives its descriptor back', async () => {
    const store = scratch();
    await fitted(store, 'screw');
    const client = new EngineClient(clientOptions(store, []));
    await client.score('screw', [await part(1)]);
    const first = memoryOf(client.pid!);
    assert.ok(first && mine().includes(first), 'both have it');
    assert.deepEqual(
      fs.readdirSync('/dev/shm').filter(name => name.startsWith('goodparts-')),
      []
    );
    process.kill(client.pid!, 'SIGKILL');
    await client.score('screw', [await part(1)]);
    const second = memoryOf(client.pid!);
    assert.ok(second && second !== first && mine().includes(second) && !mine().includes(first));
    await client.close();
    await until(() => !mine().includes(second), 'the memory is given back');
  });
});

/** The memory that an engine process has, by the name of its file; empty where it has none. */
function memoryOf(pid: number): string {
  const file = fs.readlinkSync(`/proc/${pid}/fd/${MEMORY_FD}`);
  return /\/dev\/shm\/goodparts-.*deleted/.test(file) ? file : '';
}

/** What this process has open. */
function mine(): string[] {
  return fs.readdirSync('/proc/self/fd').map(fd => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return '';
    }
  });
}
