import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { put, ROOT, scratch } from '../support';
import { certificate } from './certificate';
import { closeServers, entry, give, NETWORK, proxy, serve, sumOf, type Given } from './server';

const CLI = path.join(ROOT, 'dist/cli/goodparts.js');
const secure = certificate();

/** `goodparts models ...` in a process of its own, with a catalogue whose network comes from `url`. */
function models(store: string, url: string, env: NodeJS.ProcessEnv, ...args: string[]) {
  const catalogue = path.join(store, 'catalogue.json');
  put(catalogue, JSON.stringify({ caveats: { none: 'Nothing to say.' }, catalogue: [entry([url])] }));
  put(path.join(store, 'ca.pem'), secure.cert);
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/_proxy$/i.test(name)));
  const child = spawn(process.execPath, [CLI, 'models', ...args, '--store', path.join(store, 'store')], {
    cwd: store,
    env: { ...clean, GOODPARTS_CATALOGUE: catalogue, NODE_EXTRA_CA_CERTS: path.join(store, 'ca.pem'), ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  });
  const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve, reject) => {
    const [out, err]: string[][] = [[], []];
    child.stdout.setEncoding('utf8').on('data', text => out.push(text));
    child.stderr.setEncoding('utf8').on('data', text => err.push(text));
    child.once('error', reject).once('close', code => resolve({ code, stdout: out.join(''), stderr: err.join('') }));
  });
  return { child, ended };
}

const file = (store: string) => path.join(store, 'store/@backbones/net.v1/net.onnx');
const isWhole = (store: string) => assert.equal(sumOf(fs.readFileSync(file(store))), sumOf(NETWORK));

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !condition(); i++) await new Promise(resolve => setTimeout(resolve, 25));
  assert.ok(condition(), String(condition));
}

describe('download of a backbone by processes', () => {
  afterEach(closeServers);

  const network = (given: (nth: number) => Given = () => ({})) =>
    serve((request, response, nth) => give(request, response, NETWORK, given(nth)));

  it('happens once where several want it at the same time', async () => {
    const server = await network(() => ({ slow: 10 }));
    const store = scratch();
    const url = `${server.url}/net.onnx`;
    const all = [1, 2, 3].map(() => models(store, url, {}, 'pull', 'net.v1'));
    for (const { ended } of all) {
      const { code, stderr } = await ended;
      assert.equal(code, 0, stderr);
    }
    assert.deepEqual(server.log, ['GET /net.onnx']);
    isWhole(store);
  });

  it('shows the others how far it is, and is no detector', async () => {
    const server = await network(() => ({ slow: 30 }));
    const store = scratch();
    const url = `${server.url}/net.onnx`;
    const pull = models(store, url, {}, 'pull', 'net.v1');
    await until(() => fs.existsSync(`${file(store)}.part`) && fs.statSync(`${file(store)}.part`).size > 1e6);
    const { stdout } = await models(store, url, {}, 'list', '--json').ended;
    const [listed] = JSON.parse(stdout) as { state: string; done: number; bytes: number }[];
    assert.equal(listed.state, 'downloading');
    assert.ok(listed.done >= 1e6 && listed.done <= NETWORK.length, String(listed.done));
    const { code, stderr } = await models(store, url, {}, 'remove', 'net.v1').ended;
    assert.equal(code, 1);
    assert.match(stderr, /net\.v1 is being downloaded/);
    pull.child.kill('SIGINT');
    assert.equal((await pull.ended).code, 130);
    assert.match(
      (await models(store, url, {}, 'list').ended).stdout,
      /^net\.v1 +6\.3 +Apache-2\.0 \(none\) +begun \d+ %$/m
    );
  });

  it('is taken over, and gone on with, when its process is killed', async () => {
    const server = await network(nth => (nth === 1 ? { slow: 20 } : {}));
    const store = scratch();
    const url = `${server.url}/net.onnx`;
    const first = models(store, url, {}, 'pull', 'net.v1');
    await until(() => fs.existsSync(`${file(store)}.part`) && fs.statSync(`${file(store)}.part`).size > 1e6);
    const second = models(store, url, {}, 'pull', 'net.v1');
    first.child.kill('SIGKILL');
    await first.ended;
    assert.ok(fs.existsSync(path.join(path.dirname(file(store)), '.lock')), 'the lock of the dead is still there');
    const { code, stderr } = await second.ended;
    assert.equal(code, 0, stderr);
    assert.equal(server.log.length, 2);
    assert.match(server.log[1], /bytes=\d{7}-/);
    isWhole(store);
  });

  it('goes over https, and not to somebody whom nobody vouches for', async () => {
    const server = await serve((request, response) => give(request, response, NETWORK), secure);
    const store = scratch();
    const url = `${server.url}/net.onnx`;
    const { code, stderr } = await models(store, url, {}, 'pull', 'net.v1').ended;
    assert.equal(code, 0, stderr);
    isWhole(store);
    const stranger = await models(scratch(), url, { NODE_EXTRA_CA_CERTS: '' }, 'pull', 'net.v1').ended;
    assert.equal(stranger.code, 1);
    assert.match(stranger.stderr, /certificate is not trusted here/);
  });

  it('is not led from https to http', async () => {
    const plain = await network();
    const server = await serve(
      (_, response) => response.writeHead(302, { Location: `${plain.url}/net.onnx` }).end(),
      secure
    );
    const { code, stderr } = await models(scratch(), `${server.url}/net.onnx`, {}, 'pull', 'net.v1').ended;
    assert.equal(code, 1);
    assert.match(stderr, /redirects from https to http:/);
    assert.deepEqual(plain.log, []);
  });

  it('goes through the proxy of the environment, redirects too', async () => {
    const server = await serve((request, response) => give(request, response, NETWORK), secure);
    const plain = await serve((_, response) => response.writeHead(302, { Location: `${server.url}/net.onnx` }).end());
    const [store, middle] = [scratch(), await proxy()];
    const env = { HTTP_PROXY: middle.host, HTTPS_PROXY: middle.url };
    const { code, stderr } = await models(store, `${plain.url}/net.onnx`, env, 'pull', 'net.v1').ended;
    assert.equal(code, 0, stderr);
    isWhole(store);
    assert.deepEqual(middle.log, [`GET ${plain.url}/net.onnx`, `CONNECT 127.0.0.1:${server.port}`]);
  });

  it('leaves the proxy out where NO_PROXY says so', async () => {
    const server = await network();
    const middle = await proxy();
    const env = { HTTP_PROXY: middle.url, NO_PROXY: 'example.org, 127.0.0.0/8' };
    const { code, stderr } = await models(scratch(), `${server.url}/net.onnx`, env, 'pull', 'net.v1').ended;
    assert.equal(code, 0, stderr);
    assert.deepEqual([middle.log.length, server.log.length], [0, 1]);
  });

  it('logs in at a proxy, and says what is missing without a login', async () => {
    const server = await serve((request, response) => give(request, response, NETWORK), secure);
    const plain = await network();
    const middle = await proxy('plant:secret');
    for (const { url } of [server, plain]) {
      const open = { https_proxy: `http://${middle.host}`, http_proxy: `http://${middle.host}` };
      const without = await models(scratch(), `${url}/net.onnx`, open, 'pull', 'net.v1').ended;
      assert.equal(without.code, 1);
      assert.match(without.stderr, /proxy 127\.0\.0\.1:\d+ wants a name and a password/);
      const known = { https_proxy: middle.url, http_proxy: middle.url };
      const { code, stderr } = await models(scratch(), `${url}/net.onnx`, known, 'pull', 'net.v1').ended;
      assert.equal(code, 0, stderr);
      assert.doesNotMatch(without.stderr + stderr, /secret/);
    }
  });
});
