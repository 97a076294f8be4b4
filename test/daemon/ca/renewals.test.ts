/**
 * Renewals one after the other while streams are open and carry messages, over real TLS: no stream ends, and each new connection
 * shows the newest certificate. `npm run torture -- renewals` does a thousand.
 */
import * as tls from 'node:tls';
import t from 'tap';
import { openRenewals } from './renewals-rig.js';

const renewals = 20;

t.test(`${renewals} renewals of both ends under load end no stream`, async t => {
  const rig = await openRenewals(t, { streams: 8 });
  for (let count = 1; count <= renewals; count += 1) {
    await rig.renew(count % 2 === 0 ? 'manager' : 'worker');
    await rig.untilAllHaveSpoken();
  }
  t.same(rig.ended(), [], 'no stream has ended');
  t.ok(rig.exchanged() >= renewals * 8, `${rig.exchanged()} messages there and back`);
  t.equal(rig.sessionsOpened(), 1, 'the session is the first one');
  const socket = tls.connect({ ...rig.address(), rejectUnauthorized: false, ALPNProtocols: ['h2'] });
  await new Promise<void>((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  t.equal(socket.getPeerX509Certificate()?.serialNumber, rig.managerSerial(), 'new connections see the newest');
  socket.destroy();
});
