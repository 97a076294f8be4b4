/**
 * The resolvers that the host itself asks. A local stub of systemd-resolved is passed by: what it knows is in its own file.
 *
 * Not here: asking them (upstream.ts).
 */

const resolvConf = '/etc/resolv.conf';
const resolvedConf = '/run/systemd/resolve/resolv.conf';
const stub = '127.0.0.53';

export function parseNameservers(text: string): string[] {
  return text.split('\n').flatMap(line => {
    const [, address] = /^\s*nameserver\s+(\S+)/.exec(line) ?? [];
    return address === undefined ? [] : [address];
  });
}

/** `read` gives a file's text. Pure otherwise; called for each question that goes out, as the host's resolvers change. */
export function hostServers(read: (path: string) => string | undefined): readonly string[] {
  const servers = parseNameservers(read(resolvConf) ?? '');
  if (!servers.includes(stub)) return servers;
  const behind = parseNameservers(read(resolvedConf) ?? '');
  return behind.length > 0 ? behind : servers;
}
