import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { GoodpartsError } from '../../lib/engine/errors';
import { pullBackbone, type PullOptions } from '../../lib/backbones/pull';
import { lockedBytes, lockFolder, type Bytes } from '../../lib/backbones/lock';
import type { CatalogueEntry } from '../../lib/engine/catalogue';
import { put, scratch } from '../support';
import { closeServers, entry, give, NETWORK, raw, serve, sumOf, type Given } from './server';

const SIZE = NETWORK.length;
/** What may be on its way through the stream when a connection breaks, and comes again. */
const UNDER_WAY = 2e5;
/** Impatient, so that the tests are quick; no proxy of the machine that runs them. */
const QUICK: PullOptions = { env: {}, patience: 5000, pause: 10, tries: 3 };

/** A request for the rest of a file of which about so much was there. */
function wentOn(request: string, from: number): void {
  const start = Number(/^GET \/net\.onnx bytes=(\d+)-$/.exec(request)?.[1]);
  assert.ok(start <= from + 10 && start > from - UNDER_WAY, request);
}

describe('download of a backbone', () => {
  afterEach(closeServers);

  const pull = (what: CatalogueEntry, store: string, more: PullOptions = {}) =>
    pullBackbone(what, store, { ...QUICK, ...more });

  /** Pulls from a server that gives the n-th answer as `given` says, and checks what came. */
  async function pulled(given: (nth: number) => Given, more: PullOptions = {}) {
    const server = await serve((request, response, nth) => give(request, response, NETWORK, given(nth)));
    const store = scratch();
    const folder = await pull(entry([`${server.url}/net.onnx`]), store, more);
    assert.equal(folder, path.join(store, '@backbones', 'net.v1'));
    assert.deepEqual(fs.readdirSync(folder), ['net.onnx'], 'nothing is left beside it');
    assert.equal(sumOf(fs.readFileSync(path.join(folder, 'net.onnx'))), sumOf(NETWORK));
    return server;
  }

  async function refused(what: CatalogueEntry, says: RegExp, store = scratch(), more: PullOptions = {}) {
    const error = await pull(what, store, more).then(
      () => assert.fail('it was taken'),
      (e: unknown) => e
    );
    assert.ok(error instanceof GoodpartsError, String(error));
    assert.equal(error.code, 'backbone-download', error.message);
    assert.match(error.message, says);
    const left = fs.readdirSync(path.join(store, '@backbones/net.v1'));
    assert.ok(!left.includes('net.onnx') && !left.includes('.lock'), left.join(' '));
    return Object.assign(error, { left });
  }

  it('takes it in one request, says how far it is, and asks nobody when it is there', async () => {
    const seen: Bytes[] = [];
    const server = await serve((request, response) => give(request, response, NETWORK));
    const [store, what] = [scratch(), entry([`${server.url}/net.onnx`])];
    await pull(what, store, { onProgress: bytes => seen.push(bytes) });
    assert.deepEqual(seen.at(-1), { done: SIZE, total: SIZE });
    assert.ok(seen.length > 5 && seen.every((bytes, i) => i === 0 || bytes.done > seen[i - 1].done));
    await pull(what, store);
    assert.deepEqual(server.log, ['GET /net.onnx']);
  });

  it('goes on where the connection broke off', async () => {
    const server = await pulled(nth => (nth < 4 ? { upTo: 1e6 + nth, then: 'break', etag: '"a"' } : { etag: '"a"' }));
    assert.equal(server.log[0], 'GET /net.onnx');
    wentOn(server.log[3], 3e6);
    assert.ok(server.sent() < SIZE + 3 * UNDER_WAY, `${server.sent()} bytes for ${SIZE}`);
  });

  it('goes on after a stall, in a later pull, too', async () => {
    const server = await pulled(nth => (nth === 1 ? { upTo: 2e6, then: 'stall' } : {}), { patience: 400 });
    wentOn(server.log[1], 2e6);

    const dead = await serve((request, response, nth) =>
      give(request, response, NETWORK, nth < 5 ? { upTo: nth === 1 ? 1e6 : 0, then: 'stall' } : {})
    );
    const [store, what] = [scratch(), entry([`${dead.url}/net.onnx`])];
    await refused(what, /for 0\.4 s/, store, { patience: 400 });
    const stopped = dead.log.length;
    await pull(what, store);
    wentOn(dead.log[stopped], 1e6);
  });

  it('gives up a server that does not answer at all', async () => {
    const mute = await serve(() => {});
    await refused(entry([`${mute.url}/net.onnx`]), /did not answer for 0\.1 s/, scratch(), { patience: 100 });
    assert.equal(mute.log.length, QUICK.tries);
    await refused(entry(['http://127.0.0.1:9/net.onnx']), /127\.0\.0\.1 cannot be reached: the connection is refused/);
  });

  it('starts over where the server has another version by now, or knows no ranges', async () => {
    const other = Buffer.from(NETWORK).fill(7, 0, 2e6);
    const server = await serve((request, response, nth) =>
      nth === 1
        ? give(request, response, other, { upTo: 1e6, then: 'break', etag: '"old"' })
        : give(request, response, NETWORK, { etag: '"new"' })
    );
    await pull(entry([`${server.url}/net.onnx`]), scratch());
    assert.match(server.log[1], /bytes=/);
    assert.equal(server.sent(), SIZE + 1e6, 'If-Range brought the whole file');
    const plain = await pulled(nth => (nth === 1 ? { upTo: 1e6, then: 'break', whole: true } : { whole: true }));
    assert.equal(plain.log.length, 2);
  });

  it('starts over once where a beginning turns out to be of another file', async () => {
    const other = Buffer.from(NETWORK).fill(7, 0, 2e6);
    const server = await serve((request, response, nth) =>
      give(request, response, nth === 1 ? other : NETWORK, {
        ...(nth === 1 && { upTo: 1e6, then: 'break' }),
        careless: true
      })
    );
    await pull(entry([`${server.url}/net.onnx`]), scratch());
    wentOn(server.log[1], 1e6);
    assert.deepEqual(server.log.slice(2), ['GET /net.onnx']);
  });

  it('refuses wrong bytes and takes them from a mirror instead', async () => {
    const other = Buffer.from(NETWORK).fill(7, 1e6, 1e6 + 1);
    const bad = await serve((request, response) => give(request, response, other));
    await refused(entry([`${bad.url}/net.onnx`]), /gave other bytes than expected: the checksum is wrong/);
    const good = await serve((request, response) => give(request, response, NETWORK));
    await pull(entry([`${bad.url}/net.onnx`, `${good.url}/mirror/net.onnx`]), scratch());
    assert.deepEqual([bad.log.length, good.log.length], [2, 1]);
  });

  it('refuses a file of another length before, or as soon as, it is seen to be one', async () => {
    const longer = await serve((request, response) =>
      give(request, response, Buffer.concat([NETWORK, Buffer.alloc(9e6)]))
    );
    const { left } = await refused(
      entry([`${longer.url}/net.onnx`]),
      /offers 15\.3 MB, and the file has 6\.3 MB: it is another one/
    );
    assert.deepEqual(left, [], 'nothing of it was taken');
    const endless = await serve((_, response) => {
      response.writeHead(200);
      const more = () => !response.destroyed && (response.write(Buffer.alloc(65_536, 1)), setImmediate(more));
      more();
    });
    await refused(entry([`${endless.url}/net.onnx`]), /sends more than 6\.3 MB/);
  });

  it('is not misled by a length that is a lie', async () => {
    const head = (length: number) =>
      `HTTP/1.1 200 OK\nContent-Type: application/octet-stream\nContent-Length: ${length}\n\n`;
    const short = await raw(head(SIZE), NETWORK.subarray(0, 1e6));
    await refused(entry([`${short}/net.onnx`]), /broke off/);
    const cut = await raw('HTTP/1.1 200 OK\nConnection: close\n\n', NETWORK.subarray(0, 1e6));
    await refused(entry([`${cut}/net.onnx`]), /ended after 1\.0 MB of 6\.3 MB/);
    const tooShort = await raw(head(1000), NETWORK);
    await refused(entry([`${tooShort}/net.onnx`]), /offers 0\.0 MB/);
    const range = await serve((request, response, nth) => {
      if (nth === 1) return give(request, response, NETWORK, { upTo: 1e6, then: 'break' });
      if (nth > 2) return give(request, response, NETWORK);
      return void response.writeHead(206, { 'Content-Range': `bytes 5-9/${SIZE}` }).end(Buffer.alloc(5));
    });
    await pull(entry([`${range.url}/net.onnx`]), scratch());
  });

  it('tells a Git LFS pointer, a web page and a JSON text from a network', async () => {
    const texts: [string, RegExp][] = [
      [
        `version https://git-lfs.github.com/spec/v1\noid sha256:${sumOf(NETWORK)}\nsize ${SIZE}\n`,
        /a pointer of Git LFS/
      ],
      ['\ufeff\n<!-- x --><!DOCTYPE html><html><body>Log in</body></html>', /a web page .*proxy/],
      ['{"error": "quota"}', /a JSON text/]
    ];
    for (const [text, says] of texts)
      for (const bytes of [SIZE, null]) {
        const server = await serve((_, response) => response.writeHead(200).end(text));
        const error = await refused(entry([`${server.url}/net.onnx`], { bytes }), says);
        assert.match(error.message, /127\.0\.0\.1:\d+ gave a/);
        assert.equal(server.log.length, 1, 'another try would not help');
      }
  });

  it('keeps what it has when a page comes in between', async () => {
    const server = await serve((request, response, nth) => {
      if (nth === 2) return void response.writeHead(200).end('<html>Your session has ended</html>');
      return give(request, response, NETWORK, nth === 1 ? { upTo: 3e6, then: 'break' } : {});
    });
    const [store, what] = [scratch(), entry([`${server.url}/net.onnx`])];
    await refused(what, /a web page/, store);
    await pull(what, store);
    wentOn(server.log.at(-1)!, 3e6);
  });

  it('tries again what may pass and not what will not', async () => {
    const busy = await serve((request, response, nth) =>
      nth < 3 ? response.writeHead(503).end('busy') : give(request, response, NETWORK)
    );
    await pull(entry([`${busy.url}/net.onnx`]), scratch());
    const gone = await serve((_, response) => response.writeHead(404).end('<html>gone</html>'));
    await refused(entry([`${gone.url}/net.onnx`]), /answers 404 \(the file is not there any more\)/);
    assert.deepEqual([busy.log.length, gone.log.length], [3, 1]);
  });

  it('follows redirects, a few', async () => {
    const good = await serve((request, response) => give(request, response, NETWORK));
    const first = await serve(({ url }, response) => {
      const to: Record<string, string> = {
        '/net.onnx': '/two',
        '/two': `${good.url}/three`,
        '/loop/net.onnx': '/loop/net.onnx'
      };
      response.writeHead(url === '/two' ? 307 : 302, { Location: to[url!] ?? 'ftp://127.0.0.1/net.onnx' }).end('moved');
    });
    await pull(entry([`${first.url}/net.onnx`]), scratch());
    assert.deepEqual([first.log, good.log], [['GET /net.onnx', 'GET /two'], ['GET /three']]);
    await refused(entry([`${first.url}/loop/net.onnx`]), /redirects in circles/);
    await refused(entry([`${first.url}/else/net.onnx`]), /redirects to nowhere/);
  });

  it('takes a file whose length nobody knew', async () => {
    const server = await serve((request, response) => give(request, response, NETWORK));
    const seen: Bytes[] = [];
    await pull(entry([`${server.url}/net.onnx`], { bytes: null }), scratch(), {
      onProgress: bytes => seen.push(bytes)
    });
    assert.deepEqual(seen.at(-1), { done: SIZE, total: null });
  });

  it('takes all files of a network whose weights are apart, the model last', async () => {
    const weights = Buffer.alloc(1e5, 3);
    const server = await serve((request, response) =>
      give(request, response, request.url === '/net.onnx' ? NETWORK : weights)
    );
    const data = [{ url: `${server.url}/net.onnx_data`, mirrors: [], sha256: sumOf(weights), bytes: weights.length }];
    const folder = await pull(entry([`${server.url}/net.onnx`], { data }), scratch());
    assert.deepEqual(fs.readdirSync(folder).sort(), ['net.onnx', 'net.onnx_data']);
    assert.deepEqual(server.log, ['GET /net.onnx_data', 'GET /net.onnx']);
  });

  it('stops when it is told to, and goes on later', async () => {
    const server = await serve((request, response, nth) =>
      give(request, response, NETWORK, nth === 1 ? { slow: 20 } : {})
    );
    const [store, what] = [scratch(), entry([`${server.url}/net.onnx`])];
    const controller = new AbortController();
    const onProgress = ({ done }: Bytes) => done > 5e5 && controller.abort();
    await assert.rejects(pull(what, store, { signal: controller.signal, onProgress }), { name: 'AbortError' });
    assert.deepEqual(fs.readdirSync(path.join(store, '@backbones/net.v1')).sort(), [
      'net.onnx.part',
      'net.onnx.part.tag'
    ]);
    await pull(what, store);
    assert.match(server.log[1], /bytes=\d{6,}-/);
  });

  it('replaces a file that is not what it should be', async () => {
    const server = await serve((request, response) => give(request, response, NETWORK));
    const store = scratch();
    put(path.join(store, '@backbones/net.v1/net.onnx'), Buffer.from(NETWORK).fill(0, 9, 10));
    const folder = await pull(entry([`${server.url}/net.onnx`]), store);
    assert.equal(sumOf(fs.readFileSync(path.join(folder, 'net.onnx'))), sumOf(NETWORK));
  });

  it('says what to do in a plant without internet', async () => {
    const store = scratch();
    const { message } = await refused(entry(['http://127.0.0.1:9/net.onnx']), /cannot be reached/, store);
    const folder = path.join(store, '@backbones/net.v1');
    for (const part of [
      'net.onnx',
      '6.3 MB',
      sumOf(NETWORK),
      folder,
      'goodparts models pull net.v1',
      'models import net.onnx'
    ])
      assert.ok(message.includes(part), `${part} in ${message}`);
  });

  it('says which folder cannot be written', async () => {
    const store = scratch();
    put(path.join(store, '@backbones'), 'a file');
    await assert.rejects(pull(entry(['http://127.0.0.1:9/net.onnx']), store), {
      code: 'store-write',
      message: /@backbones.net\.v1 cannot be written/
    });
  });

  it('is not begun without leave where the licence has to be read first', async () => {
    const server = await serve((request, response) => give(request, response, NETWORK));
    // a caveat of the shipped catalogue, as that is where its text is
    const what = entry([`${server.url}/net.onnx`], { optIn: true, caveat: 'dinov3', licence: 'DINOv3 License' });
    await assert.rejects(pull(what, scratch()), {
      code: 'backbone-download',
      message: /DINOv3 License.*--accept-licence/
    });
    assert.deepEqual(server.log, []);
    await pull(what, scratch(), { acceptLicence: true });
  });
});

describe('lock of a folder', () => {
  it('stays readable while its report changes, and goes with its holder', async () => {
    const folder = scratch();
    const lock = await lockFolder(folder);
    for (const done of [123_456_789, 7]) {
      lock.report({ done, total: null });
      for (let i = 0; i < 100 && (await lockedBytes(folder))?.done !== done; i++)
        await new Promise(resolve => setTimeout(resolve, 50));
      assert.deepEqual(await lockedBytes(folder), { done, total: null });
      assert.ok(await lock.held());
    }
    await assert.rejects(lockFolder(folder, { signal: AbortSignal.timeout(600) }));
    await lock.release();
    assert.deepEqual(fs.readdirSync(folder), []);
    await (await lockFolder(folder)).release();
  });

  it('is broken where its process is gone, also when another has its number', async () => {
    const folder = scratch();
    const dead = { token: 'x', pid: process.pid, host: os.hostname(), done: 1, total: 2 };
    put(path.join(folder, '.lock'), JSON.stringify(dead));
    assert.equal(await lockedBytes(folder), undefined);
    let holders = 0;
    const use = async () => {
      const lock = await lockFolder(folder);
      assert.equal(++holders, 1, 'one at a time');
      await new Promise(resolve => setTimeout(resolve, 50));
      holders--;
      await lock.release();
    };
    await Promise.all([use(), use(), use()]);
  });
});
