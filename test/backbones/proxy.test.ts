import assert from 'node:assert/strict';
import { proxyFor, type Environment } from '../../lib/backbones/proxy';

describe('proxy settings', () => {
  const via = (url: string, env: Environment) => proxyFor(new URL(url), env)?.href;

  it('follow the scheme; the lower-case name wins', () => {
    const env = { HTTP_PROXY: 'http://a:1', HTTPS_PROXY: 'b:2', https_proxy: 'https://c:3' };
    assert.equal(via('http://x.test/', env), 'http://a:1/');
    assert.equal(via('https://x.test/', env), 'https://c:3/');
    assert.equal(via('https://x.test/', { HTTPS_PROXY: 'b:2' }), 'http://b:2/');
    assert.equal(via('https://x.test/', { ALL_PROXY: 'http://d:4' }), 'http://d:4/');
    assert.equal(via('https://x.test/', { HTTP_PROXY: 'http://a:1', HTTPS_PROXY: ' ' }), undefined);
  });

  it('leave out what NO_PROXY names', () => {
    const env = (no: string) => ({ HTTPS_PROXY: 'http://a:1', NO_PROXY: no });
    const left: [string, string][] = [
      ['https://x.test/', '*'],
      ['https://x.test/', 'y.test,x.test'],
      ['https://X.test/', 'x.TEST'],
      ['https://files.x.test/', '.x.test'],
      ['https://files.x.test/', 'x.test'],
      ['https://files.x.test/', '*.x.test'],
      ['https://x.test:8443/', 'x.test:8443'],
      ['https://x.test/', 'x.test:443'],
      ['https://10.1.2.3/', '10.0.0.0/8'],
      ['https://10.1.2.3/', '10.1.2.3'],
      ['https://[::1]/', '::1'],
      ['https://[fd00::7]/', 'fd00::/8']
    ];
    for (const [url, no] of left) assert.equal(via(url, env(no)), undefined, `${url} ${no}`);
    const kept: [string, string][] = [
      ['https://x.test/', ''],
      ['https://notx.test/', 'x.test'],
      ['https://x.test.evil/', 'x.test'],
      ['https://x.test/', 'x.test:8443'],
      ['https://11.1.2.3/', '10.0.0.0/8'],
      ['https://110.1.2.3/', '10.1.2.3'],
      ['https://x.test/', '10.0.0.0/99, a b']
    ];
    for (const [url, no] of kept) assert.equal(via(url, env(no)), 'http://a:1/', `${url} ${no}`);
  });

  it('say what cannot be used, without the password in it', () => {
    for (const HTTPS_PROXY of ['socks5://u:secret@a:1', 'http://u:secret@:1'])
      assert.throws(
        () => via('https://x.test/', { HTTPS_PROXY }),
        (error: Error) => {
          assert.match(error.message, /HTTPS_PROXY names no proxy that can be used/);
          assert.doesNotMatch(error.message, /secret/);
          return true;
        }
      );
  });
});
