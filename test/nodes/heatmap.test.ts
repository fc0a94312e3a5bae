import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import path from 'node:path';
import type { NodeMessage } from 'node-red';
import sharp from 'sharp';
import type { AnomalyMap, RawImage, Region } from '../../lib/engine';
import { colormap, colormapNames, type Rgb } from '../../lib/red/overlay/colormaps';
import { bench, fitted, helper, id, Inbox, modules, part, smallModel, type Caught } from './helper';
import { scratch } from '../support';

const [WIDTH, HEIGHT] = [200, 120];
const GREY = 100;
/** Where the map is high: a disc around this point, far above the pixel threshold. */
const SPOT = { x: 60, y: 40, radius: 20 };

interface Overlay {
  width: number;
  height: number;
  format: string;
  at(x: number, y: number): Rgb;
}

async function open(bytes: unknown): Promise<Overlay> {
  assert.ok(Buffer.isBuffer(bytes), 'an overlay is a Buffer');
  const { format } = await sharp(bytes).metadata();
  const { data, info } = await sharp(bytes).raw().toBuffer({ resolveWithObject: true });
  assert.equal(info.channels, 3);
  const at = (x: number, y: number) => [...data.subarray((y * info.width + x) * 3).subarray(0, 3)] as Rgb;
  return { width: info.width, height: info.height, format: format!, at };
}

const near = (actual: Rgb, expected: Rgb, by: number, where: string) =>
  assert.ok(
    actual.every((value, i) => Math.abs(value - expected[i]) <= by),
    `${where}: ${actual.join()} instead of ${expected.join()}`
  );

const picture = (width = WIDTH, height = HEIGHT) =>
  sharp({ create: { width, height, channels: 3, background: { r: GREY, g: GREY, b: GREY } } });

/** A map of `value`, with `high` in the spot; normal 1, pixel threshold 2. */
function mapOf({ value = 1, high = 9, width = WIDTH, height = HEIGHT } = {}): AnomalyMap {
  const values = new Float32Array(width * height).fill(value);
  const inside = (x: number, y: number) =>
    Math.hypot(((x + 0.5) * WIDTH) / width - SPOT.x, ((y + 0.5) * HEIGHT) / height - SPOT.y) < SPOT.radius;
  for (let i = 0; i < values.length; i++) if (inside(i % width, Math.floor(i / width))) values[i] = high;
  return { data: Buffer.from(values.buffer), width, height, normal: 1, threshold: 2 };
}

const region: Region = { x: 40, y: 20, width: 40, height: 40, score: 9, area: 1257 };
const payload = { score: 9, image: { width: WIDTH, height: HEIGHT }, regions: [region] };

/** Half of the colormap's last colour on grey. */
const hot = (name: (typeof colormapNames)[number]) => colormap(name)[255].map(c => (c + GREY) / 2) as Rgb;
const clear: Rgb = [GREY, GREY, GREY];
const plain = { contour: false, boxes: false, scaleBar: false };

describe('heatmap', () => {
  let userDir: string;
  let image: Buffer;
  before(async () => {
    userDir = scratch();
    image = await picture().png().toBuffer();
    helper.settings({ userDir });
    await helper.startServer();
  });
  after(() => helper.stopServer());
  afterEach(() => helper.unload());

  async function deploy(config: object = {}) {
    const { flow, node, out, caught } = bench('heatmap', { image: 'image', format: 'png', ...config }, {});
    await helper.load(modules, flow);
    const inbox = { out: new Inbox(out), caught: new Inbox(caught) };
    return { ...inbox, node, send: (msg: NodeMessage) => helper.getNode(node).receive(msg) };
  }

  /** The overlay that a node with this configuration makes of a message. */
  async function overlay(config: object, msg: NodeMessage = {}): Promise<Overlay> {
    const { send, out } = await deploy(config);
    send({ image, anomalyMap: mapOf(), payload, ...msg });
    const [{ heatmap }] = await out.wait(1);
    await helper.unload();
    return open(heatmap);
  }

  for (const name of colormapNames)
    it(`paints what is anomalous in ${name}, and leaves the rest as it is`, async () => {
      const { at, width, height } = await overlay({ ...plain, colormap: name });
      assert.deepEqual([width, height], [WIDTH, HEIGHT]);
      near(at(SPOT.x, SPOT.y), hot(name), 2, 'the spot');
      near(at(150, 90), clear, 0, 'a normal place');
      near(at(2, 2), clear, 0, 'the corner');
    });

  it('tells by the detector, not by the picture: a good part stays clear, whatever its highest value', async () => {
    const { at } = await overlay(plain, { anomalyMap: mapOf({ value: 1, high: 1.2 }) });
    near(at(SPOT.x, SPOT.y), clear, 4, 'a little above normal');
    const threshold = await overlay(plain, { anomalyMap: mapOf({ high: 2 }) });
    const at60 = colormap('turbo')[153].map(c => (c + GREY) / 2) as Rgb;
    near(threshold.at(SPOT.x, SPOT.y), at60, 3, 'at the threshold: 60 % of the colormap, full strength');
  });

  it('takes the ends of a fixed scale from the node', async () => {
    const config = { ...plain, scale: 'fixed', min: '0', max: 10, alpha: '1' };
    const { at } = await overlay(config, { anomalyMap: mapOf({ value: 0, high: 8 }) });
    near(at(SPOT.x, SPOT.y), colormap('turbo')[204], 2, 'at 80 % of the scale');
    near(at(150, 90), clear, 0, 'at its start');
  });

  it('hatches what was not inspected, so that the picture can still be seen, and nothing else', async () => {
    const map = mapOf({ high: 1 });
    const values = new Float32Array(map.data.buffer, map.data.byteOffset);
    values.forEach((_, i) => i % WIDTH >= 100 && (values[i] = NaN));
    const { at } = await overlay({ scaleBar: false, boxes: false }, { anomalyMap: map });
    near(at(90, 60), clear, 0, 'what was inspected');
    const beyond = Array.from({ length: 400 }, (_, i) => at(120 + (i % 20), 60 + Math.floor(i / 20))[1]);
    const [dark, bright] = [Math.min(...beyond), Math.max(...beyond)];
    assert.ok(dark < 0.7 * GREY && dark > 0.4 * GREY, `dimmed to ${dark} of ${GREY}`);
    assert.ok(bright > dark + 15 && bright < GREY + 40, `stripes of ${bright} on ${dark}`);
  });

  it('draws the outline at the pixel threshold', async () => {
    const { at } = await overlay({ ...plain, contour: true });
    const edge = Array.from({ length: 7 }, (_, i) => at(SPOT.x + SPOT.radius - 3 + i, SPOT.y));
    assert.ok(
      edge.some(rgb => Math.min(...rgb) > 180),
      `a white line crosses ${edge.join(' ')}`
    );
    near(at(SPOT.x, SPOT.y), hot('turbo'), 2, 'inside of it');
    const unseen = await overlay({ ...plain, contour: true }, { anomalyMap: { ...mapOf(), threshold: 10 } });
    near(unseen.at(SPOT.x + SPOT.radius, SPOT.y + 30), clear, 0, 'no line where nothing is above the threshold');
  });

  it('draws boxes where the payload says, also on a smaller overlay', async () => {
    const yellow = ([red, green, blue]: Rgb) => red > 180 && green > 150 && blue < 150;
    const column = ({ at, height }: Overlay, x: number) =>
      Array.from({ length: height }, (_, y) => y).filter(y => yellow(at(x, y)));
    const cold = mapOf({ high: 1 });
    const full = await overlay({ ...plain, boxes: true }, { anomalyMap: cold });
    const [top, ...rest] = column(full, 60);
    assert.ok(top >= 14 && top <= 20 && rest.at(-1)! >= 60 && rest.at(-1)! <= 66, `${top} ${rest.join()}`);
    assert.deepEqual(column(full, 120), []);
    const half = await overlay({ ...plain, boxes: true, maxSide: 100 }, { anomalyMap: cold });
    const [topOfHalf] = column(half, 30);
    assert.ok(topOfHalf >= 5 && topOfHalf <= 10, `${topOfHalf}`);
    const none = await overlay({ ...plain, boxes: true }, { anomalyMap: cold, payload: 'something else' });
    assert.deepEqual(column(none, 60), []);
  });

  it('puts the scale bar where it hides no defect', async () => {
    const config = { contour: false, boxes: false };
    const dark = ([red]: Rgb) => red < 60;
    const [big, corner] = [
      { width: 400, height: 400 },
      { x: 300, y: 300, width: 100, height: 100 }
    ];
    const msg = { image: await picture(400, 400).png().toBuffer(), anomalyMap: mapOf({ high: 1 }) };
    const usual = await overlay(config, { ...msg, payload: { image: big, regions: [] } });
    assert.ok(dark(usual.at(388, 385)) && !dark(usual.at(388, 15)), 'lower right');
    const moved = await overlay(config, { ...msg, payload: { image: big, regions: [corner] } });
    assert.ok(!dark(moved.at(388, 385)) && dark(moved.at(388, 15)), 'upper right');
  });

  it('turns a picture as its EXIF says, so that it agrees with the map', async () => {
    // 6: the camera was turned; stored 120 x 200, seen as 200 x 120
    const turned = await picture(HEIGHT, WIDTH).withMetadata({ orientation: 6 }).jpeg().toBuffer();
    const { at, width, height } = await overlay(plain, { image: turned });
    assert.deepEqual([width, height], [WIDTH, HEIGHT]);
    near(at(SPOT.x, SPOT.y), hot('turbo'), 4, 'the spot');
    near(at(WIDTH - SPOT.x, HEIGHT - SPOT.y), clear, 4, 'its opposite');
  });

  it('stretches a small map over a large picture, and fits the result into maxSide', async () => {
    const msg = {
      image: await picture(WIDTH * 4, HEIGHT * 4)
        .png()
        .toBuffer(),
      anomalyMap: mapOf({ width: 50, height: 30 })
    };
    const full = await overlay(plain, msg);
    assert.deepEqual([full.width, full.height], [WIDTH * 4, HEIGHT * 4]);
    near(full.at(SPOT.x * 4, SPOT.y * 4), hot('turbo'), 2, 'the spot');
    const small = await overlay({ ...plain, maxSide: '100' }, msg);
    assert.deepEqual([small.width, small.height], [100, 60]);
    near(small.at(SPOT.x / 2, SPOT.y / 2), hot('turbo'), 2, 'the spot');
    const never = await overlay({ ...plain, maxSide: 5000 }, msg);
    assert.equal(never.width, WIDTH * 4);
  });

  for (const format of ['png', 'jpeg', 'webp'])
    it(`sends ${format}, also as a data URI`, async () => {
      const result = await overlay({ format, contour: false });
      assert.equal(result.format, format);
      const { send, out } = await deploy({ format, as: 'datauri', output: 'ui.src' });
      send({ image, anomalyMap: mapOf(), payload });
      const [{ ui }] = await out.wait(1);
      const [head, body] = (ui as { src: string }).src.split(',');
      assert.equal(head, `data:image/${format};base64`);
      assert.equal((await open(Buffer.from(body, 'base64'))).width, WIDTH);
    });

  it('takes raw pixels, grey and RGBA, and changes nothing that it was given', async () => {
    for (const channels of [1, 3, 4] as const) {
      const raw: RawImage = {
        data: Buffer.alloc(WIDTH * HEIGHT * channels, GREY),
        width: WIDTH,
        height: HEIGHT,
        channels
      };
      if (channels === 4) for (let i = 3; i < raw.data.length; i += 4) raw.data[i] = 255;
      const anomalyMap = mapOf();
      const before = [Buffer.from(raw.data), Buffer.from(anomalyMap.data)];
      const { at } = await overlay(plain, { image: raw, anomalyMap });
      near(at(SPOT.x, SPOT.y), hot('turbo'), 2, `the spot, ${channels} channels`);
      near(at(150, 90), clear, 0, `elsewhere, ${channels} channels`);
      assert.deepEqual([raw.data, anomalyMap.data], before);
    }
  });

  it('reads a map at any place in memory', async () => {
    const map = mapOf();
    const shifted = Buffer.concat([Buffer.alloc(1), map.data]).subarray(1);
    const { at } = await overlay(plain, { anomalyMap: { ...map, data: shifted } });
    near(at(SPOT.x, SPOT.y), hot('turbo'), 2, 'the spot');
  });

  it('keeps the message, its Buffers and its order', async () => {
    const { send, out } = await deploy({ format: 'jpeg' });
    const large = await picture(1500, 900).png().toBuffer();
    const anomalyMap = mapOf();
    for (let i = 0; i < 8; i++) send({ image: i % 2 ? image : large, anomalyMap, payload, topic: 'line 1', part: i });
    const messages = await out.wait(8);
    assert.deepEqual(
      messages.map(msg => msg.part),
      [0, 1, 2, 3, 4, 5, 6, 7]
    );
    assert.equal(messages[1].image, image, 'the very same Buffer');
    assert.equal((messages[1].anomalyMap as AnomalyMap).data, anomalyMap.data);
    assert.deepEqual(messages[1].payload, payload);
    assert.equal(messages[1].topic, 'line 1');
  });

  it('answers arrays with an array', async () => {
    const { send, out, caught } = await deploy(plain);
    const anomalyMap = [mapOf(), mapOf({ high: 1 })];
    send({ image: [image, image], anomalyMap, payload: [payload, payload] });
    const [{ heatmap }] = await out.wait(1);
    const [first, second] = await Promise.all((heatmap as Buffer[]).map(open));
    near(first.at(SPOT.x, SPOT.y), hot('turbo'), 2, 'the defective one');
    near(second.at(SPOT.x, SPOT.y), clear, 0, 'the good one');
    send({ image: [image, image, image], anomalyMap, payload });
    const [{ error }] = (await caught.wait(1)) as Caught[];
    assert.match(error.message, /3 pictures, but msg.anomalyMap 2 maps/);
  });

  it('says what is missing', async () => {
    const { send, caught } = await deploy();
    const anomalyMap = mapOf();
    await fs.writeFile(path.join(userDir, 'cut.jpg'), (await picture().jpeg().toBuffer()).subarray(0, 300));
    send({ image, payload });
    send({ anomalyMap, payload });
    send({ image: [image], payload });
    send({ image, anomalyMap: { ...anomalyMap, width: 7 } });
    send({ image, anomalyMap: JSON.parse(JSON.stringify(anomalyMap)) as unknown });
    send({ image, anomalyMap: { ...anomalyMap, normal: undefined } });
    send({ image: Buffer.from('no picture'), anomalyMap });
    send({ image: 'cut.jpg', anomalyMap });
    send({ image: '/etc/hostname', anomalyMap });
    const errors = ((await caught.wait(9)) as Caught[]).map(({ error }) => error);
    const codes = errors.map(({ code }) => code).sort();
    const once = ['calibration-missing', 'image-format', 'image-unreadable', 'path-forbidden'];
    assert.deepEqual(codes, [...once, ...Array.from({ length: 5 }, () => 'input-missing')].sort());
    assert.ok(errors.some(({ message }) => /needs msg.anomalyMap: switch on the anomaly map/.test(message)));
    assert.ok(errors.some(({ message }) => /msg.image holds nothing/.test(message)));
  });

  it('does not refuse a picture that the limits of the model let through', async () => {
    const { send, out, caught } = await deploy(plain);
    const long = { image: await picture(20_100, 4).png().toBuffer(), anomalyMap: mapOf({ width: 1000, height: 1 }) };
    send({ ...long, payload: { ...payload, image: { width: 20_100, height: 4 } } });
    assert.equal((await open((await out.wait(1))[0].heatmap)).width, 20_100);
    send({ ...long, payload: {} });
    assert.equal(((await caught.wait(1)) as Caught[])[0].error.code, 'image-too-large');
  });

  it('draws what anomaly-score and threshold deliver', async () => {
    await fitted(userDir, 'screw');
    const score = bench('anomaly-score', {}, smallModel(userDir));
    const [threshold, heatmap] = [id(), id()];
    const at = { z: score.flow[0].id, x: 0, y: 0 };
    for (const node of score.flow) if (node.id === score.node) node.wires = [[threshold], []];
    const more = [
      { id: threshold, type: 'threshold', model: score.model, ...at, wires: [[], [heatmap]] },
      { id: heatmap, type: 'heatmap', image: 'image', format: 'png', scaleBar: false, ...at, wires: [[score.out]] }
    ];
    await helper.load(modules, [...score.flow, ...more]);
    helper.getNode(score.node).receive({ payload: await part(40, true) });
    const [msg] = await new Inbox(score.out).wait(1);
    assert.equal((msg.payload as { verdict: string }).verdict, 'ng');
    const result = await open(msg.heatmap);
    const [red, green] = result.at(49, 30);
    assert.ok(red > green + 20, 'the blot is red');
    const original = await open(msg.image);
    // a detector of three pictures is unsure of every place, but not so sure of a defect
    assert.ok(result.at(5, 90)[0] < original.at(5, 90)[0] + 12, 'a normal place is not');
  });
});
