// Certificates of a manager and a node renewed one after the other, a thousand times, while a session and eight streams carry
// messages. Must hold: no stream ends, the session is never opened anew. A round is one renewal.
import { openRenewals } from '../../dist/test/daemon/ca/renewals-rig.js';

export async function run({ rounds, say }) {
  const closing = [];
  try {
    const rig = await openRenewals({ teardown: call => void closing.push(call) }, { streams: 8 });
    for (let round = 1; round <= rounds; round += 1) {
      await rig.renew(round % 2 === 0 ? 'manager' : 'worker');
      await rig.untilAllHaveSpoken();
      if (round % 100 === 0) say(`${round} renewals, ${rig.exchanged()} messages, ${rig.ended().length} streams ended`);
    }
    for (const text of rig.ended()) say(text);
    const failed = rig.ended().length + (rig.sessionsOpened() === 1 ? 0 : 1);
    return { passed: rounds - failed, failed };
  } finally {
    for (const close of closing.reverse()) await close();
  }
}
