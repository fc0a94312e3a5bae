import type { NodeAPI } from 'node-red';
import { GoodpartsError } from '../engine/errors';
import { beginPull, cancelPull, dropBackbone, receiveBackbone, shownBackbones } from './backbones';
import { EngineClient, planFit } from '../host';
import { clientOptions, settingsWithMask, storeFolder, type Model, type ModelConfig } from './model';
import { planRequest } from './plan';
import type { ModelNode } from './nodes';

type Handler = ReturnType<NodeAPI['auth']['needsPermission']>;

/** Answers with JSON; an error becomes `{code, message}` with a status that the editor can tell apart. */
const json =
  (answer: (input: Record<string, unknown>, request: Parameters<Handler>[0]) => Promise<unknown>): Handler =>
  (request, response) => {
    const input = { ...request.query, ...(request.body as object) };
    answer(input, request).then(
      value => response.json(value ?? {}),
      (error: Error) => {
        const code = error instanceof GoodpartsError ? error.code : undefined;
        response.status(code ? 400 : 500).json({ code, message: error.message });
      }
    );
  };

function deployedModel(RED: NodeAPI, id: unknown): Model {
  const node = RED.nodes.getNode(String(id)) as ModelNode | null;
  if (node?.model) return node.model;
  throw new GoodpartsError('input-missing', 'This model is not deployed yet.');
}

/** Fills in `${NAME}` as Node-RED does at a deploy: from the place of the deployed node, else from the process. */
function resolved(RED: NodeAPI, shown: Partial<ModelConfig>): Partial<ModelConfig> {
  const node = RED.nodes.getNode(String(shown.id));
  const entries = Object.entries(shown).map(([field, value]) => {
    if (!/^\$\{\w+\}$/.test(String(value))) return [field, value];
    const set: unknown = RED.util.evaluateNodeProperty(String(value), 'env', node, {});
    if (set !== '') return [field, set];
    throw new GoodpartsError('input-missing', `The environment variable in ${field}, ${String(value)}, is not set.`);
  });
  return Object.fromEntries(entries) as Partial<ModelConfig>;
}

/** Tries the settings as the editor shows them, deployed or not, in the engine process of their device. */
async function test(RED: NodeAPI, shown: Partial<ModelConfig>): Promise<unknown> {
  const config = resolved(RED, shown);
  const client = new EngineClient(clientOptions(RED, config, text => RED.log.warn(text)));
  try {
    return await client.doctor({ name: config.detector ?? '', settings: await settingsWithMask(RED, config) });
  } finally {
    await client.close();
  }
}

/** What a fit with the settings of the editor will take, for so many pictures of a size. */
async function plan(RED: NodeAPI, { images, picture, ...shown }: Record<string, unknown>): Promise<unknown> {
  const config = resolved(RED, shown as Partial<ModelConfig>);
  const request = planRequest(images, picture);
  return planFit(
    clientOptions(RED, config, text => RED.log.warn(text)),
    await settingsWithMask(RED, config),
    request
  );
}

/** The store that the dialog shows, deployed or not. */
const shownStore = (RED: NodeAPI, { id, store }: Record<string, unknown>): string =>
  storeFolder(RED, resolved(RED, { id: String(id), store: String(store ?? '') }));

/** Backbones: what there is, and to get, bring and remove them. Only ids of the catalogue are ever downloaded. */
function backboneEndpoints(
  { httpAdmin, auth, log }: NodeAPI,
  storeOf: (input: Record<string, unknown>) => string
): void {
  const post = (what: string, act: (id: string, store: string, input: Record<string, unknown>) => unknown) =>
    httpAdmin.post(
      `/goodparts/backbones/${what}`,
      auth.needsPermission('anomaly-model.write'),
      json(async input => act(String(input.backbone), storeOf(input), input))
    );
  httpAdmin.get(
    '/goodparts/backbones',
    auth.needsPermission('anomaly-model.read'),
    json(async input => shownBackbones(storeOf(input)))
  );
  post('pull', (id, store, { accepted }) => beginPull(id, store, accepted === true, text => log.warn(text)));
  post('cancel', cancelPull);
  post('remove', (id, store, { force }) => dropBackbone(id, store, force === true));
  httpAdmin.post(
    '/goodparts/backbones/upload',
    auth.needsPermission('anomaly-model.write'),
    json(async (input, request) => receiveBackbone(request, storeOf(input), { name: String(input.name ?? '') }))
  );
}

/** What the editor page of anomaly-model asks the runtime. */
export function adminEndpoints(RED: NodeAPI): void {
  const { httpAdmin, auth } = RED;
  const read = auth.needsPermission('anomaly-model.read');
  const write = auth.needsPermission('anomaly-model.write');
  httpAdmin.post(
    '/goodparts/test',
    write,
    json(settings => test(RED, settings))
  );
  httpAdmin.post(
    '/goodparts/plan',
    write,
    json(settings => plan(RED, settings))
  );
  httpAdmin.get(
    '/goodparts/detectors',
    read,
    json(async ({ id }) => deployedModel(RED, id).list())
  );
  httpAdmin.post(
    '/goodparts/activate',
    write,
    json(async ({ id, name, version }) => deployedModel(RED, id).activate(String(name), String(version)))
  );
  backboneEndpoints(RED, input => shownStore(RED, input));
}
