// An MQTT broker on this machine: Mosquitto, which must be installed. For tests and trials.
//   node scripts/mosquitto.mjs [--port 1883] [--data <folder>]     runs one until Ctrl-C
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { freePort } from './node-red.mjs';
import { homeOf, startService } from './service.mjs';

const connects = port =>
  new Promise(resolve => {
    const socket = net.connect(port, '127.0.0.1', () => socket.end(() => resolve(true)));
    socket.once('error', () => resolve(false));
  });

/**
 * What a broker needs so that QoS 1 outlives its own restart; its own limit is 1,000 messages a client, then it drops. One message in
 * hand a client: Node-RED's MQTT node says that it has one before the flow has seen it, so a killed process loses those in hand.
 */
const config = (port, folder) => `listener ${port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location ${folder}/
autosave_interval 30
max_queued_messages 10000
max_queued_bytes 1000000000
max_inflight_messages 1
`;

/**
 * Starts a broker for this machine only and waits until it serves.
 * @param {object} [options]
 * @param {string} [options.program] path of mosquitto; default: the one of the system
 * @param {number} [options.port] default: the first free one from 1883
 * @param {string} [options.folder] where it keeps sessions and retained messages; a broker that was stopped goes on there. Default:
 *   a new one under the system's folder for temporary files, removed when it stops
 * @param {(line: string) => void} [options.onLine] gets every line that the broker logs
 * @returns {Promise<{url: string, port: number, folder: string, log: string[], ended: Promise<number>, stop: () => Promise<void>}>}
 *   url: the address for clients; stop: ends it as Ctrl-C does
 * @throws Error with the broker's log when it ends, or does not serve within 20 s
 */
export async function start({ program = 'mosquitto', port, folder, onLine } = {}) {
  const home = homeOf('mosquitto', folder);
  const chosen = port ?? (await freePort(1883));
  const file = path.join(home, 'mosquitto.conf');
  fs.writeFileSync(file, config(chosen, home));
  // Debian keeps it where only root's PATH looks
  const env = { ...process.env, PATH: [process.env.PATH, '/usr/sbin', '/usr/local/sbin'].join(path.delimiter) };
  // started by root, it would become the user "mosquitto", who may not write there
  const user = process.getuid?.() === 0 ? 'user root\n' : '';
  fs.appendFileSync(file, user);
  const { log, ended, stop } = await startService({
    name: 'Mosquitto',
    command: [program, '-c', file],
    home,
    own: folder === undefined,
    env,
    port: chosen,
    seconds: 20,
    serves: () => connects(chosen),
    onLine
  });
  return { url: `mqtt://127.0.0.1:${chosen}`, port: chosen, folder: home, log, ended, stop };
}

if (process.argv[1] && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { port: { type: 'string' }, data: { type: 'string' } } });
  const broker = await start({
    port: values.port && Number(values.port),
    folder: values.data && path.resolve(values.data),
    onLine: line => console.log(line)
  });
  console.log(`Mosquitto serves on ${broker.url}; its data is in ${broker.folder}. Ctrl-C ends it.`);
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void broker.stop());
}
