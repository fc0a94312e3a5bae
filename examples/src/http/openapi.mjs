// What the function node "openapi" of the HTTP flows does; see ../functions.mjs.

/** The documents of all HTTP flows that run here, in one: each flow adds its own when it starts, and takes it away when it ends. */
export function openapi(msg, { global }) {
  const parts = Object.values(global.get('goodpartsHttp')).filter(Boolean);
  const all = field => Object.assign({}, ...parts.map(field));
  msg.payload = {
    ...parts[0],
    info: { ...parts[0].info, title: 'Goodparts', description: parts.map(({ info }) => info.description).join(' ') },
    servers: [{ url: msg.req.baseUrl || '/' }],
    paths: all(part => part.paths),
    components: { ...parts[0].components, schemas: all(part => part.components.schemas) }
  };
  return msg;
}
