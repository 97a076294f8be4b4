/** Header blocks against nghttp2, which node:http2 is made of: it codes them, we read them. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type ServerHttp2Stream } from 'node:http2';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { encodeHeaders, type Header, openHeaderDecoder } from '../../../src/cli/rpc/hpack.js';
import { openSession } from '../../../src/cli/rpc/session.js';

const decodeHeaders = openHeaderDecoder();

t.test('what is encoded is decoded', async t => {
  const headers: readonly Header[] = [
    [':method', 'POST'],
    ['x', ''],
    ['long', 'v'.repeat(300)],
    ['n'.repeat(127), 'w'.repeat(20_000)],
  ];
  t.same(decodeHeaders(encodeHeaders(headers)), headers);
});

t.test('every octet that a header may hold survives the code of nghttp2, and the answer of another peer', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'covey-hpack-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const all = Array.from({ length: 256 - 0x21 }, (_, at) => String.fromCharCode(0x21 + at))
    .filter(character => character !== '\x7f')
    .join('');
  const sent = { all, ...Object.fromEntries([...all].map((character, at) => [`x-${at}`, character.repeat(at % 9)])) };
  const server = createServer();
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...sent }, { endStream: true });
  });
  const path = join(folder, 's');
  await once(server.listen(path), 'listening');
  t.teardown(() => server.close());
  const session = openSession(connect(path));
  await session.greeted;
  const got = await new Promise<readonly Header[]>((resolve, reject) => {
    const kept: Header[] = [];
    const asked = [':method', ':scheme', ':path', ':authority'].map(
      (name, at): Header => [name, ['GET', 'http', '/', 'a'][at] ?? ''],
    );
    session
      .open(asked, {
        onHeaders: headers => kept.push(...headers),
        onData: () => undefined,
        onEnd: reason => (reason === undefined ? resolve(kept) : reject(new Error(JSON.stringify(reason)))),
      })
      .finish();
  });
  session.close();
  const fields = new Map(got);
  t.equal(fields.get(':status'), '200');
  t.equal(fields.get('content-type'), 'application/grpc');
  for (const [name, value] of Object.entries(sent)) t.equal(fields.get(name), value, name);
});

t.test('bytes that are no header block are refused', async t => {
  const rows: readonly (readonly [string, readonly number[]])[] = [
    ['an index of the dynamic table', [0x80 + 62]],
    ['the index zero', [0x80]],
    ['a name that ends early', [0x00, 0x05, 0x61]],
    ['a value that is missing', [0x00, 0x01, 0x61]],
    ['a length without end', [0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]],
    ['the end mark in a text', [0x00, 0x84, 0xff, 0xff, 0xff, 0xff]],
    ['padding that is not ones', [0x00, 0x81, 0x00, 0x00]],
    ['padding of a whole octet', [0x00, 0x82, 0x1f, 0xff, 0x00]],
  ];
  for (const [what, bytes] of rows) t.throws(() => decodeHeaders(Uint8Array.from(bytes)), what);
});
