// Taquito's remote signer against pawl, over HTTP as a wallet or a dApp does it.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { LocalForger } from '@taquito/local-forging';
import { RemoteSigner } from '@taquito/remote-signer';
import { getPkhfromPk, verifySignature } from '@taquito/utils';

import { Demo } from './demo.js';

const branch = 'BLockGenesisGenesisGenesisGenesisGenesisf79b5d1CoW2';
const operation = new Uint8Array([0x03]); // the watermark of operations
const kinds = ['tz1', 'tz2', 'tz3'];
const signatures = { tz1: 'edsig', tz2: 'spsig', tz3: 'p2sig' };

let demo;
before(async () => { demo = await Demo.create(['transaction']); });
after(async () => {
  await demo?.stop();
  await demo?.remove();
});

// forge makes one operation of source with the contents, as Taquito encodes it.
function forge(source, ...contents) {
  const manager = (i) => ({ source, fee: '500', counter: String(7 + i), gas_limit: '1500', storage_limit: '0' });
  return new LocalForger().forge({ branch, contents: contents.map((content, i) => ({ ...manager(i), ...content })) });
}

const payment = (destination) => ({ kind: 'transaction', amount: '1000000', destination });
const delegation = (delegate) => ({ kind: 'delegation', delegate });

// client returns a signer for the demo's key of a kind, and what it sends.
function client(kind) {
  const pkh = demo.hashes.find((hash) => hash.startsWith(kind));
  const signer = new RemoteSigner(pkh, demo.url);
  const sent = [];
  const http = signer.http;
  const createRequest = http.createRequest.bind(http);
  http.createRequest = (options, data) => {
    if (data !== undefined) sent.push(data);
    return createRequest(options, data);
  };
  return { pkh, signer, sent };
}

// refusal wants an error of Taquito's that was caused by an answer of the status
// with Octez's error trace, and keeps the message of the trace.
function refusal(name, status) {
  const check = (err) => {
    assert.equal(err.name, name, `got ${err.name}: ${err.message}`);
    const answer = err.cause ?? err;
    assert.equal(answer.status, status);
    const [trace] = JSON.parse(answer.body);
    assert.deepEqual(Object.keys(trace).sort(), ['id', 'kind', 'msg']);
    check.message = trace.msg;
    return true;
  };
  return check;
}

for (const kind of kinds) {
  describe(kind, () => {
    test('public key and hash', async () => {
      const { pkh, signer } = client(kind);
      const key = await signer.publicKey();
      assert.equal(getPkhfromPk(key), pkh);
      assert.equal(await signer.publicKeyHash(), pkh);
    });

    test('signs an operation that the policy allows', async () => {
      const { pkh, signer, sent } = client(kind);
      const key = await signer.publicKey();
      const bytes = await forge(pkh, payment(pkh));
      const { sig, prefixSig, sbytes } = await signer.sign(bytes, operation);
      assert.deepEqual(sent, [`03${bytes}`], 'the watermark, then the operation');
      assert.ok(prefixSig.startsWith(signatures[kind]), prefixSig);
      assert.ok(verifySignature(`03${bytes}`, key, prefixSig), 'with the prefix of the curve');
      assert.ok(verifySignature(`03${bytes}`, key, sig), 'in the generic form');
      assert.equal(sbytes.length, bytes.length + 128, 'the operation and 64 bytes of signature');
    });

    test('signs a batch of what the policy allows', async () => {
      const { pkh, signer } = client(kind);
      const key = await signer.publicKey();
      const bytes = await forge(pkh, payment(pkh), payment(demo.hashes[0]));
      const { prefixSig } = await signer.sign(bytes, operation);
      assert.ok(verifySignature(`03${bytes}`, key, prefixSig));
    });

    test('refuses an operation that the policy does not allow', async () => {
      const { pkh, signer } = client(kind);
      const forbidden = refusal('OperationNotAuthorized', 403);
      await assert.rejects(signer.sign(await forge(pkh, delegation(pkh)), operation), forbidden);
      assert.match(forbidden.message, /delegation is not allowed/);
    });

    test('refuses a batch with one forbidden content', async () => {
      const { pkh, signer } = client(kind);
      const forbidden = refusal('OperationNotAuthorized', 403);
      await assert.rejects(signer.sign(await forge(pkh, payment(pkh), delegation(pkh)), operation), forbidden);
      assert.match(forbidden.message, /delegation is not allowed/);
    });

    test('refuses an operation of another source', async () => {
      const { signer } = client(kind);
      const other = client(kinds.find((k) => k !== kind)).pkh;
      await assert.rejects(signer.sign(await forge(other, payment(other)), operation), refusal('BadSigningData', 400));
    });

    test('refuses an operation that is cut off', async () => {
      const { pkh, signer } = client(kind);
      const bytes = await forge(pkh, payment(pkh));
      await assert.rejects(signer.sign(bytes.slice(0, -2), operation), refusal('BadSigningData', 400));
    });

    test('refuses bytes without a watermark', async () => {
      const { pkh, signer, sent } = client(kind);
      const bytes = await forge(pkh, payment(pkh));
      await assert.rejects(signer.sign(bytes), refusal('BadSigningData', 400));
      assert.deepEqual(sent, [bytes]);
    });

    test('signs one payload of a slot, and that one again', async () => {
      const { signer } = client(kind);
      const attestation = (block) => `${'00'.repeat(32)}150007000003e800000000${block.repeat(32)}`;
      const mainnet = new Uint8Array([0x13, 0x7a, 0x06, 0xa7, 0x70]);
      const first = await signer.sign(attestation('aa'), mainnet);
      const again = await signer.sign(attestation('aa'), mainnet);
      assert.equal(again.prefixSig, first.prefixSig);
      const conflict = refusal('HttpResponseError', 409);
      await assert.rejects(signer.sign(attestation('bb'), mainnet), conflict);
      assert.match(conflict.message, /already signed with different data/);
    });
  });
}

test('a key that the signer has not', async () => {
  const signer = new RemoteSigner('tz1VqJrj8f5G9Z7eK8d2U5mXAs5oBXCsrJqc', demo.url);
  await assert.rejects(signer.publicKey(), { name: 'PublicKeyNotFoundError' });
  const bytes = await forge(await signer.publicKeyHash(), payment(demo.hashes[0]));
  await assert.rejects(signer.sign(bytes, operation), { name: 'PublicKeyNotFoundError' });
});
