// What the function nodes of the HTTP flows do: those that all of them have, and those of inspect-by-http.json; see functions.mjs.

/**
 * Lets a request in: with the token where GOODPARTS_TOKEN is set, and within the limits. Leaves its pictures in msg.pictures, as bytes only
 * (a text would be taken for the path of a file on this machine), and its other fields in msg.fields.
 */
export async function checkTheRequest(msg, { node, env, Buffer, crypto }) {
  const { req } = msg;
  const refuse = (code, text) => void node.error(Object.assign(new Error(text), { code }), msg);
  const setting = (name, otherwise) => Number(env.get(name)) || otherwise;
  const token = env.get('GOODPARTS_TOKEN');
  if (token) {
    const [, bearer] = /^Bearer (.+)$/i.exec(req.headers.authorization || '') || [];
    const given = bearer || req.headers['x-api-key'] || req.query.token;
    // what is compared has always the same length, and is always compared to its end
    const hash = text => crypto.createHash('sha256').update(String(text)).digest();
    if (!crypto.timingSafeEqual(hash(given), hash(token)))
      return refuse('unauthorized', 'This needs a token: send the header "Authorization: Bearer TOKEN".');
  }
  const most = setting('GOODPARTS_MAX_MB', 64);
  const tooLarge = () => refuse('image-too-large', `The request is larger than ${most} MB.`);
  msg.pictures = (Array.isArray(req.files) ? req.files : []).map(file => file.buffer);
  if (msg.pictures.length === 0) {
    // an http in node that takes uploads leaves a body that is neither a form nor JSON unread
    const chunks = [];
    let size = 0;
    for await (const chunk of req) {
      size += chunk.length;
      if (size <= most * 2 ** 20) chunks.push(chunk);
    }
    if (size > most * 2 ** 20) return tooLarge();
    if (size > 0) msg.pictures = [Buffer.concat(chunks)];
  }
  if (msg.pictures.reduce((sum, { length }) => sum + length, 0) > most * 2 ** 20) return tooLarge();
  const files = setting('GOODPARTS_MAX_FILES', 64);
  if (msg.pictures.length > files) return refuse('image-too-many', `At most ${files} pictures a request are taken.`);
  msg.fields = { ...req.query, ...(Buffer.isBuffer(req.body) ? {} : req.body) };
  msg.began = Date.now();
  return msg;
}

/** Learn, forget or inspect. */
export function readTheRequest(msg, { node }) {
  const { method, route } = msg.req;
  const { pictures } = msg;
  msg.recipe = msg.fields.recipe || 'part';
  if (method === 'DELETE') return [null, { ...msg, reset: true }];
  if (route.path === '/learn/done') return [null, { ...msg, complete: true, payload: [], fitting: true }];
  if (pictures.length === 0) {
    const text = 'No picture came: send its bytes with Content-Type image/jpeg (or png, ...), or a form upload.';
    return void node.error(Object.assign(new Error(text), { code: 'image-format' }), msg);
  }
  msg.payload = pictures.length > 1 ? pictures : pictures[0];
  msg.taken = pictures.length;
  return route.path === '/learn' ? [null, msg] : [msg, null];
}

/** The heatmap as the body, the verdict in the headers; of several pictures the first. */
export function asAPicture(msg) {
  const [{ score, threshold, verdict }] = [msg.payload].flat();
  msg.headers = { 'content-type': 'image/jpeg', 'x-score': score, 'x-threshold': threshold, 'x-verdict': verdict };
  msg.payload = [msg.heatmap].flat()[0];
  return msg;
}

/** Tells the sender's mistakes (4xx) from ours (5xx). Of a path on this machine only the file's name is told. */
export function asAnError(msg) {
  // an error that belongs to no request: the debug sidebar has it
  if (!msg.res) return null;
  const { code = 'unknown', message } = msg.error;
  const known = {
    unauthorized: 401,
    'detector-unknown': 404,
    'class-unknown': 404,
    'backbone-missing': 404,
    'fit-busy': 409,
    'image-too-large': 413,
    'image-too-many': 413,
    'image-format': 415,
    'queue-full': 429,
    'engine-stopped': 503,
    'streams-full': 503,
    'engine-timeout': 504
  };
  const theirs = ['image-', 'input-', 'name-', 'fit-no-images', 'fit-aborted'].some(start => code.startsWith(start));
  msg.statusCode = known[code] || (theirs ? 400 : 500);
  const absolute = /(^|[\s"'(])(?:[A-Za-z]:)?[\\/](?:[^\s\\/"']+[\\/])*(?=[^\s\\/"'])/g;
  let error = message.replace(/^\w*Error: /, '').replace(absolute, '$1');
  // a fit of one request is given up whole
  if (msg.complete) error = error.replace(/ The (other good images|fit stays open).*/, '');
  msg.payload = { error, code };
  msg.headers = code === 'unauthorized' ? { 'www-authenticate': 'Bearer' } : {};
  return msg;
}
