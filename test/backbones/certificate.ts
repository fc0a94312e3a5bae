// A certificate for 127.0.0.1 that is made anew for each run: no key lies in the repository, and none expires.
import crypto from 'node:crypto';

const der = (tag: number, ...parts: Uint8Array[]): Buffer => {
  const body = Buffer.concat(parts);
  const { length } = body;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([tag, ...size]), body]);
};
const sequence = (...parts: Uint8Array[]) => der(0x30, ...parts);
const hex = (text: string) => Buffer.from(text, 'hex');
/** X.690 object identifiers as bytes: ecdsa-with-SHA256, commonName, subjectAltName, basicConstraints */
const OID = { signature: '2a8648ce3d040302', name: '550403', names: '551d11', constraints: '551d13' };
const oid = (name: keyof typeof OID) => der(0x06, hex(OID[name]));
const time = (year: number) => der(0x18, Buffer.from(`${year}0101000000Z`));

/** Self-signed, its own authority: X.509 v3 over P-256. */
export function certificate(): { key: string; cert: string } {
  const { publicKey, privateKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const algorithm = sequence(oid('signature'));
  const name = sequence(der(0x31, sequence(oid('name'), der(0x0c, Buffer.from('goodparts test')))));
  const names = sequence(der(0x87, Buffer.from([127, 0, 0, 1])));
  const authority = sequence(der(0x01, hex('ff')));
  const extensions = sequence(
    sequence(oid('constraints'), der(0x04, authority)),
    sequence(oid('names'), der(0x04, names))
  );
  const tbs = sequence(
    der(0xa0, der(0x02, hex('02'))),
    der(0x02, hex('01')),
    algorithm,
    name,
    sequence(time(2020), time(2120)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, extensions)
  );
  const signature = crypto.sign('sha256', tbs, privateKey);
  const bytes = sequence(tbs, algorithm, der(0x03, hex('00'), signature));
  const lines = bytes.toString('base64').replace(/.{64}/g, '$&\n');
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    cert: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`
  };
}
