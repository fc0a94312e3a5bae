import assert from 'node:assert/strict';
import fs from 'node:fs';
import v8 from 'node:v8';
import { Channel, shareMemory, type Envelope } from '../../lib/host/channel';
import { EngineClient } from '../../lib/host';
import { alive, clientOptions, fitted, part, until } from '../nodes/helper';
import { scratch } from '../support';

const MB = 2 ** 20;
const HERE = fs.existsSync('/dev/shm');

interface Message {
  name: string;
  images?: Uint8Array[];
  map?: { data: Buffer; width: number };
}

/** Both ends in one process, with what travels between them in the hand. */
function ends(memory: number | undefined) {
  const there: Envelope[] = [];
  const back: Envelope[] = [];
  const near = new Channel<Message, Message>(envelope => there.push(structuredClone(envelope)), memory, 0);
  const far = new Channel<Message, Message>(envelope => back.push(structuredClone(envelope)), memory, 1);
  return { near, far, there, back };
}

const bytes = (length: number, first: number) => Buffer.alloc(length, first).fill(first + 1, length - 1);
const buffers = ({ images }: Message) => images!.map(image => Buffer.from(image));
/** What really goes through the channel. */
const weight = (envelope: Envelope) => v8.serialize(envelope).length;

describe('The channel to the engine process', function () {
  before(function () {
    if (HERE) return;
    console.log('      skipped: this system has no memory for files (/dev/shm)');
    this.skip();
  });

  it('brings pictures and maps through shared memory, whole and in order, both ways', () => {
    const { near, far, there, back } = ends(shareMemory());
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
    const { near, far, there, back } = ends(shareMemory());
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

  it('carries bytes in the message where they are few or more than all the memory, or there is none', () => {
    for (const [length, memory] of [
      [100, shareMemory()],
      [13 * MB, shareMemory()],
      [50_000, undefined]
    ] as const) {
      const { near, far, there } = ends(memory);
      near.send({ name: 'x', images: [bytes(length, 5)] });
      assert.ok(weight(there[0]) > length);
      assert.deepEqual(
        far.received(there[0]).images!.map(image => Buffer.from(image)),
        [bytes(length, 5)]
      );
    }
  });

  it('takes nothing that somebody sent for a place in the memory', () => {
    const { near, far, there } = ends(shareMemory());
    const message = { name: 'x', images: [bytes(50_000, 7)], more: { path: ['name'], sharedAt: 0, length: 40_000 } };
    near.send(message);
    const received = far.received(there.shift()!);
    assert.deepEqual(received, message);
    near.send({ name: 'next', images: [bytes(50_000, 8)] });
    assert.deepEqual(buffers(far.received(there.shift()!)), [bytes(50_000, 8)]);
  });

  it('has room again where a message could not be sent, and leaves what it was given as it is', () => {
    const { near, far, there } = ends(shareMemory());
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
    const shared = () => fs.readdirSync('/proc/self/fd').filter(fd => linked(`/proc/self/fd/${fd}`)).length;
    const open = shared();
    assert.ok(open > 0);
    assert.ok(linked(`/proc/${client.pid}/fd/4`), 'the engine process has it, too');
    assert.deepEqual(
      fs.readdirSync('/dev/shm').filter(name => name.startsWith('goodparts-')),
      []
    );
    const { pid } = client;
    process.kill(pid!, 'SIGKILL');
    await client.score('screw', [await part(1)]);
    assert.equal(shared(), open);
    await client.close();
    await until(() => !alive(pid!), 'the engine process ends');
    assert.equal(shared(), open - 1);
  });
});

function linked(fd: string): boolean {
  try {
    return /\/dev\/shm\/goodparts-.*deleted/.test(fs.readlinkSync(fd));
  } catch {
    return false;
  }
}
