import t from 'tap';
import { parseListening } from '../../src/daemon/listening.js';

const output = `
udp UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:* users:(("systemd-resolve",pid=401,fd=13))
udp UNCONN 0 0 0.0.0.0:41000 0.0.0.0:* users:(("dig",pid=9001,fd=3))
tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=812,fd=3))
tcp LISTEN 0 128 [::]:22 [::]:* users:(("sshd",pid=812,fd=4))
tcp LISTEN 0 511 *:7377 *:* users:(("coveyd",pid=77,fd=22))
tcp LISTEN 0 511 *:8080 *:*
tcp LISTEN 0 511 0.0.0.0:40000 0.0.0.0:* users:(("node worker",pid=900,fd=22),("x",pid=901,fd=2))
`;

t.test(
  'who listens on this machine: programs with their ports, each once, without covey and without clients',
  async t => {
    const options = { isOurs: (pid: number) => pid === 77, ephemeral: { first: 32_768, last: 60_999 } };
    t.same(parseListening(output, options), [
      { protocol: 'tcp', port: 22, program: 'sshd (pid 812)' },
      { protocol: 'tcp', port: 8_080, program: '' },
      { protocol: 'tcp', port: 40_000, program: 'node worker (pid 900)' },
      { protocol: 'udp', port: 53, program: 'systemd-resolve (pid 401)' },
    ]);
    t.same(parseListening('', options), []);
  },
);
