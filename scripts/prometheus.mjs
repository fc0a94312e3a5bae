// Prometheus with the configuration and the alert rules of docs/monitoring, pointed at one Node-RED. It must be installed.
import fs from 'node:fs';
import path from 'node:path';
import { freePort, root } from './node-red.mjs';
import { homeOf, startService } from './service.mjs';

const shipped = path.join(root, 'docs/monitoring');

/**
 * Starts Prometheus for this machine only and waits until it serves.
 * @param {object} options
 * @param {string} options.target address of the Node-RED to scrape, as http://127.0.0.1:1880
 * @param {{username: string, password: string}} [options.credentials] of the Node-RED's httpNodeAuth
 * @param {string} [options.program] path of prometheus; default: the one of the system
 * @param {number} [options.port] default: the first free one from 9090
 * @param {string} [options.folder] where it keeps its data. Default: a new one under the system's folder for temporary files, removed
 *   when it stops
 * @param {string} [options.interval] how often it scrapes and evaluates its rules, as 1s; default: as shipped
 * @returns {Promise<{url: string, port: number, ended: Promise<number>, stop: () => Promise<void>}>} stop: ends it as Ctrl-C does
 * @throws Error with what it logged when it ends, or does not serve within 30 s
 */
export async function start({ target, credentials, program = 'prometheus', port, folder, interval }) {
  const home = homeOf('prometheus', folder);
  let config = fs.readFileSync(path.join(shipped, 'prometheus.yml'), 'utf8');
  config = config.replace('localhost:1880', new URL(target).host);
  if (credentials) {
    // what stands there for it, commented out
    config = config.replace(/# (basic_auth:| {2}username:| {2}password_file:)/g, '$1');
    config = config.replace(/(username: ).+/, `$1${credentials.username}`).replace(/(password_file: ).+/, '$1password');
    fs.writeFileSync(path.join(home, 'password'), credentials.password, { mode: 0o600 });
  }
  if (interval) config = config.replace(/_interval: \w+/g, `_interval: ${interval}`);
  fs.writeFileSync(path.join(home, 'prometheus.yml'), config);
  fs.copyFileSync(path.join(shipped, 'alerts.yml'), path.join(home, 'alerts.yml'));
  const chosen = port ?? (await freePort(9090));
  const flags = ['config.file=prometheus.yml', 'storage.tsdb.path=data', `web.listen-address=127.0.0.1:${chosen}`];
  const url = `http://127.0.0.1:${chosen}`;
  const { ended, stop } = await startService({
    name: 'Prometheus',
    command: [program, ...flags.map(flag => `--${flag}`), '--log.level=error'],
    home,
    own: folder === undefined,
    port: chosen,
    seconds: 30,
    serves: () =>
      fetch(`${url}/-/ready`).then(
        response => response.ok,
        () => false
      )
  });
  return { url, port: chosen, ended, stop };
}
