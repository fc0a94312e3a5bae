import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import sharp from 'sharp';
import { writeSample } from '../../lib/sample';
import { noise, part, parts, put, ROOT, scratch } from '../support';
import type { FlowNode } from './editor';
import { getJson, startNodeRed, until, type NodeRed } from './node-red';
import { Contract, type Document } from './openapi';
import { INSTALLING, modulesOf } from './palette';

const NAMES = ['autoencoder', 'detector', 'patchcore-kafka', 'reference', 'upload-page'];

interface Detection {
  class_name: string;
  class_confidence: number;
  is_anomalous: boolean;
  anomaly_score: number;
  anomaly_percentage: number;
  anomaly_map_base64: string | null;
}
interface Refusal {
  error: string;
  code: string;
}
type Fields = Record<string, string>;

/** The flows as a person imports them, all five at once; small pictures, so that a fit takes a second. */
function flows(): FlowNode[] {
  const read = (name: string) =>
    JSON.parse(fs.readFileSync(path.join(ROOT, `examples/http-${name}.json`), 'utf8')) as FlowNode[];
  const nodes = NAMES.flatMap(read) as (FlowNode & { label?: string; env?: { name: string; value: string }[] })[];
  for (const node of nodes) {
    if (node.type === 'anomaly-model') Object.assign(node, { inputWidth: 128, inputHeight: 128 });
    // two of the five have a POST /predict: their comment says what to do
    const own = node.env?.find(({ name }) => name === 'PREDICT');
    if (own && /autoencoder/.test(node.label!)) own.value = '/autoencoder/predict';
  }
  return nodes;
}

function form(pictures: Record<string, Buffer | Buffer[]>, fields: Fields = {}): RequestInit {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  for (const [name, some] of Object.entries(pictures))
    for (const bytes of [some].flat()) body.append(name, new Blob([new Uint8Array(bytes)]), `${name}.png`);
  return { method: 'POST', body };
}

const posted = (value: object): RequestInit => ({
  method: 'POST',
  body: JSON.stringify(value),
  headers: { 'content-type': 'application/json' }
});

describe('HTTP flows', function () {
  this.timeout(120_000);
  let nodeRed: NodeRed;
  let contract: Contract;
  const data = scratch();
  const [good, bad] = [part({ seed: 100 }), part({ seed: 2, defect: true })];

  async function start(env: Fields = {}): Promise<NodeRed> {
    const place = path.join(scratch(), 'flows.json');
    const nodes = flows();
    put(place, JSON.stringify(nodes));
    const all = { GOODPARTS_DATASETS: data, GOODPARTS_STORE: path.join(data, 'store'), GOODPARTS_MAX_MB: '20', ...env };
    // no broker there: the others must work all the same
    return startNodeRed({ flows: place, palette: modulesOf(nodes), env: { KAFKA_BROKERS: 'localhost:9', ...all } });
  }

  before(async function () {
    this.timeout(INSTALLING);
    for (const [i, bytes] of (await parts(10)).entries()) put(path.join(data, `disc/train/good/${i}.png`), bytes);
    await writeSample(path.join(data, 'flange'), { train: 10, test: 1, size: 96 });
    put(path.join(data, 'damaged/train/good/1.png'), 'this is no picture');
    nodeRed = await start();
    contract = await Contract.of(await getJson<Document>(`${nodeRed.url}/openapi.json`));
  });
  after(async () => {
    if (nodeRed) assert.equal(await nodeRed.stop(), 0);
  });

  /** Asks, and compares the answer with the document. */
  async function ask<T>(address: string, options: RequestInit = {}, status = 200): Promise<T> {
    const response = await fetch(nodeRed.url + address.split(' ')[1], options);
    return contract.answer<T>(address, response, status);
  }
  async function refused(status: number, code: string, address: string, options?: RequestInit): Promise<void> {
    const answer = await ask<Refusal>(address, options, status);
    assert.equal(answer.code, code);
    assert.match(answer.error, /^.{15,}/);
    assert.doesNotMatch(answer.error, /Error:|\/tmp|fit stays open/);
  }

  it('describe themselves, each alone and all that run here', async () => {
    for (const name of NAMES) {
      const text = fs.readFileSync(path.join(ROOT, `docs/openapi/${name}.json`), 'utf8');
      await Contract.of(JSON.parse(text) as Document);
    }
    const served = Object.keys(contract.document.paths);
    const routes = flows().filter(({ type }) => type === 'http in') as (FlowNode & { url: string })[];
    const addresses = routes.flatMap(({ url }) =>
      url === '/openapi.json' ? [] : url === '${PREDICT}' ? ['/predict', '/autoencoder/predict'] : [url]
    );
    assert.deepEqual(served.sort(), [...new Set(addresses)].sort());
  });

  it('say so as long as nothing is fitted', async () => {
    assert.deepEqual(await ask('GET /classes'), { classes: [], total: 0 });
    assert.equal((await ask<{ model_loaded: boolean }>('GET /health')).model_loaded, false);
    await refused(404, 'detector-unknown', 'POST /detect', form({ file: await good }));
  });

  it('build classes from folders, and refuse what cannot be built', async () => {
    // a client that goes away does not stop the fit
    const gone = new AbortController();
    const left = fetch(`${nodeRed.url}/build`, { ...posted({ cls: 'flange' }), signal: gone.signal });
    await new Promise(resolve => setTimeout(resolve, 300));
    await refused(409, 'fit-busy', 'POST /build', posted({ cls: 'flange' }));
    gone.abort();
    await assert.rejects(left);
    const built = await ask<{ cls: string; images: number }>('POST /build', posted({ cls: 'disc', backbone_key: '' }));
    assert.deepEqual([built.cls, built.images], ['disc', 10]);
    const listed = () => ask<{ classes: string[] }>('GET /classes');
    await until(listed, ({ classes }) => classes.join() === 'disc,flange', 30);
    await refused(404, 'class-unknown', 'POST /build', posted({ cls: 'nobody' }));
    await refused(404, 'backbone-missing', 'POST /build', posted({ cls: 'disc', backbone_key: '/etc/passwd' }));
    await refused(400, 'name-invalid', 'POST /build', posted({ cls: '../disc' }));
    await refused(400, 'name-invalid', 'POST /build', posted({}));
    // nothing of a fit that failed is left for the next one
    await refused(415, 'image-format', 'POST /build', posted({ cls: 'damaged' }));
    await refused(415, 'image-format', 'POST /build', posted({ cls: 'damaged' }));
  });

  it('recognise the product, and inspect it', async () => {
    const [ok, ng] = await Promise.all(
      [good, bad].map(async bytes =>
        ask<Detection>('POST /detect', form({ file: await bytes }, { return_map: 'true' }))
      )
    );
    assert.deepEqual([ok.class_name, ok.is_anomalous], ['disc', false]);
    assert.deepEqual([ng.class_name, ng.is_anomalous], ['disc', true]);
    assert.ok(ok.anomaly_score < 0.5 && ng.anomaly_score > 0.5 && ng.anomaly_percentage > ok.anomaly_percentage);
    assert.ok(ok.class_confidence > 0.5, `confidence ${ok.class_confidence}`);
    const { format } = await sharp(Buffer.from(ng.anomaly_map_base64!, 'base64')).metadata();
    assert.equal(format, 'png');
    const flange = fs.readFileSync(path.join(data, 'flange/train/good/000.png'));
    const { input, raw } = noise({ width: 96, height: 96, mean: 128, sigma: 60, seed: 1 });
    const nothing = await sharp(input, { raw }).png().toBuffer();
    const { results } = await ask<{ results: Detection[] }>(
      'POST /detect/batch',
      form({ files: [await good, flange, nothing] })
    );
    assert.deepEqual(
      results.map(one => one.class_name),
      ['disc', 'flange', 'unknown product']
    );
    assert.equal(results[2].is_anomalous, true);
    const lenient = form({ file: await bad }, { class_name: 'disc', threshold: '0.99' });
    assert.equal((await ask<Detection>('POST /detect', lenient)).is_anomalous, false);
    await refused(404, 'detector-unknown', 'POST /detect', form({ file: await good }, { class_name: 'nobody' }));
    await refused(400, 'name-invalid', 'POST /detect', form({ file: await good }, { class_name: '../disc' }));
    await refused(400, 'input-invalid', 'POST /detect', form({ file: await good }, { threshold: 'high' }));
    await refused(413, 'image-too-many', 'POST /detect', form({ file: [await good, await good] }));
  });

  it('answer field for field', async () => {
    const verdict = await ask<{ cls: string; is_anomaly: boolean }>('POST /predict', form({ file: await bad }));
    assert.deepEqual([verdict.cls, verdict.is_anomaly], ['disc', true]);
    // the autoencoder's detector is "part", which nobody has fitted
    await refused(404, 'detector-unknown', 'POST /autoencoder/predict', form({ file: await good }));
    fs.cpSync(path.join(data, 'store/disc'), path.join(data, 'store/part'), { recursive: true });
    const plain = await ask<{ is_anomaly: boolean }>('POST /autoencoder/predict', form({ file: await good }));
    assert.equal(plain.is_anomaly, false);
    fs.rmSync(path.join(data, 'store/part'), { recursive: true });
    await ask('POST /load_reference', form({ image: await parts(3) }));
    const inferred = await ask<{ anomaly_detected: boolean; damage_percentage: number; output_image: string }>(
      'POST /infer_json',
      form({ image: await bad })
    );
    assert.ok(inferred.anomaly_detected && inferred.damage_percentage > 0);
    const overlay = await fetch(`${nodeRed.url}/infer`, form({ image: await bad }));
    assert.equal(overlay.headers.get('content-type'), 'image/png');
    assert.equal(overlay.headers.get('x-anomaly-detected'), 'true');
    const bytes = Buffer.from(await overlay.arrayBuffer());
    assert.equal(bytes.toString('base64'), inferred.output_image);
    assert.ok((await ask<{ classes: string[] }>('GET /ping')).classes.includes('disc'));
    const shown = await ask<{ verdict: string; overlay: string }>('POST /upload', form({ file: await bad }));
    assert.ok(shown.verdict === 'ng' && shown.overlay.startsWith('data:image/jpeg;base64,'));
  });

  it('refuse what is no picture and what is too large, and live on', async () => {
    const address = 'POST /detect';
    await refused(400, 'input-missing', address, { method: 'POST' });
    await refused(400, 'input-missing', address, form({}, { file: '/etc/passwd' }));
    await refused(415, 'image-format', address, form({ file: Buffer.from('hello') }));
    await refused(415, 'image-format', address, { method: 'POST', body: 'flows.json' });
    await refused(413, 'image-too-large', address, form({ file: Buffer.alloc(50e6) }));
    await refused(413, 'image-too-large', address, { method: 'POST', body: new Uint8Array(50e6) });
    await refused(413, 'image-too-many', 'POST /detect/batch', form({ files: new Array<Buffer>(65).fill(await good) }));
    const wide = await sharp({ create: { width: 20_001, height: 2, channels: 3, background: 'red' } })
      .png()
      .toBuffer();
    await refused(413, 'image-too-large', address, form({ file: wide }));
    // one that stops half way
    const { hostname, port } = new URL(nodeRed.url);
    const headers = { 'content-type': 'multipart/form-data; boundary=x', 'content-length': 1000 };
    const half = http.request({ hostname, port, path: '/detect', method: 'POST', headers });
    half.on('error', () => {});
    half.write('--x\r\ncontent-disposition: form-data; name="file"; filename="a.png"\r\n\r\nhalf');
    await new Promise(resolve => setTimeout(resolve, 200));
    half.destroy();
    assert.equal((await ask<Detection>(address, form({ file: await good }))).class_name, 'disc');
  });

  it('refuse a body that is larger than all that is read, or does not say how large it is, before it is read', async () => {
    const { hostname, port } = new URL(nodeRed.url);
    const status = (headers: http.OutgoingHttpHeaders) =>
      new Promise((resolve, reject) => {
        const options = { hostname, port, path: '/detect', method: 'POST', headers };
        const request = http.request(options, answer => resolve(answer.statusCode));
        request.on('error', reject);
        request.write('the rest never comes');
      });
    assert.equal(await status({ 'content-type': 'image/png', 'content-length': 65 * 2 ** 20 }), 413);
    assert.equal(await status({ 'content-type': 'image/png', 'transfer-encoding': 'chunked' }), 411);
    const broken = { method: 'POST', body: 'x', headers: { 'content-type': 'multipart/form-data' } };
    await refused(400, 'input-invalid', 'POST /detect', broken);
    // the editor's part of Node-RED reads JSON before flows do
    await refused(400, 'input-invalid', 'POST /build', { ...posted({}), body: '{"cls": "disc"' });
    await refused(413, 'image-too-large', 'POST /build', posted({ cls: 'x'.repeat(6e6) }));
  });

  it('want the token where one is set', async () => {
    await nodeRed.stop();
    nodeRed = await start({ GOODPARTS_TOKEN: 'open sesame' });
    await refused(401, 'unauthorized', 'GET /classes');
    await refused(401, 'unauthorized', 'POST /detect', form({ file: await good }));
    await refused(401, 'unauthorized', 'GET /classes', { headers: { authorization: 'Bearer open sesam' } });
    await refused(401, 'unauthorized', 'GET /stream_predict');
    for (const headers of [{ authorization: 'Bearer open sesame' }, { 'x-api-key': 'open sesame' }])
      await ask('GET /classes', { headers: headers as unknown as Fields });
    const { headers } = await fetch(`${nodeRed.url}/classes`);
    assert.equal(headers.get('www-authenticate'), 'Bearer');
    assert.equal((await fetch(`${nodeRed.url}/upload`)).status, 200);
  });
});
