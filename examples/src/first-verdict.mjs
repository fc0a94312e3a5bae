// What the function nodes of first-verdict.json do; see functions.mjs.

/**
 * Sends the pictures of a folder, one a message. msg.topic: 'good' (to the first output, then msg.complete) or 'inspect' (to the
 * second). Folders that are not there are made.
 */
export async function pictures(msg, { node, env, fs, path, os }) {
  const base = env.get('GOODPARTS_PICTURES') || path.join(os.homedir(), 'goodparts-pictures');
  for (const name of ['good', 'inspect']) fs.mkdirSync(path.join(base, name), { recursive: true });
  const folder = path.join(base, msg.topic);
  const names = fs.readdirSync(folder).filter(name => /\.(png|jpe?g|webp|tiff?|gif|avif)$/i.test(name));
  const wanted = msg.topic === 'good' ? 'pictures of good parts (20 to 50; one is enough to try)' : 'pictures of parts';
  if (names.length === 0) throw new Error(`Put ${wanted} into ${folder}, then press the button again.`);
  node.status({ text: `${msg.topic}: ${names.length}` });
  for (const name of names.sort()) {
    const picture = { partId: name, folder: base, payload: await fs.promises.readFile(path.join(folder, name)) };
    node.send(msg.topic === 'good' ? [picture, null] : [null, picture]);
  }
  return msg.topic === 'good' ? [{ complete: true, payload: [] }, null] : null;
}

/** Writes the heatmap beside the pictures, into the folder "verdicts", and says what came out in one short object. */
export function keepTheHeatmap(msg, { node, fs, path }) {
  const { verdict, score, threshold, regions } = msg.payload;
  const folder = path.join(msg.folder, 'verdicts');
  fs.mkdirSync(folder, { recursive: true });
  const heatmap = path.join(folder, `${msg.partId}.${verdict}.jpg`);
  fs.writeFileSync(heatmap, msg.heatmap);
  node.status({ fill: verdict === 'ok' ? 'green' : 'red', shape: 'dot', text: `${verdict}: ${msg.partId}` });
  return { payload: { picture: msg.partId, verdict, score, threshold, regions: regions.length, heatmap } };
}
