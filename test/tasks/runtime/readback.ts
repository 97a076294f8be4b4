/**
 * A program that tells from inside of a container how it was started, and what was told read into one object: the other half
 * of what a spec asks for. The program is a shell script for busybox; binary parts come as base64.
 */

export interface Seen {
  readonly argv: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly capEff: string;
  readonly capBnd: string;
  readonly noNewPrivs: number;
  readonly seccomp: number;
  readonly pid: number;
  /** Soft and hard, by the label of /proc/self/limits. */
  readonly limits: Readonly<Record<string, readonly [string, string]>>;
  readonly oomScore: number;
  readonly hostname: string;
  readonly hosts: string;
  readonly resolv: string;
  readonly terminal: boolean;
  /** Host id of id 0 and how many follow. */
  readonly uidMap: readonly [number, number];
  /** By mount point: type, options of the mount, and those of the file system. */
  readonly mounts: Readonly<Record<string, { readonly type: string; readonly options: readonly string[] }>>;
  /** "target: text" of what one-line checks printed. */
  readonly facts: Readonly<Record<string, string>>;
}

/** Runs as the shell of the container; ends at once. */
export const readbackScript = `
part() { echo "@$1"; busybox base64 -w 0; echo; }
part argv < /proc/$$/cmdline
part env < /proc/$$/environ
pwd -P | part cwd
part status < /proc/$$/status
part limits < /proc/$$/limits
cat /proc/$$/oom_score_adj | part oom
hostname | part hostname
part hosts < /etc/hosts
part resolv < /etc/resolv.conf
part uidmap < /proc/self/uid_map
part mounts < /proc/self/mountinfo
{ test -t 2 && echo yes || echo no; } | part terminal
fact() { echo "$1=$(eval "$2" 2>&1 | tr '\\n' ' ')"; }
{
  fact root 'touch /.x && echo written'
  fact root-owner 'stat -c "%u %g" /bin'
  fact masked 'cat /proc/timer_list | wc -c; ls /sys/firmware | wc -l'
  fact sysctl-write 'echo 1 > /proc/sys/kernel/panic && echo written'
  fact ttl 'cat /proc/sys/net/ipv4/ip_default_ttl'
  fact ports 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start'
  fact shmmni 'cat /proc/sys/kernel/shmmni'
  fact links 'ls /sys/class/net'
  fact devices 'ls /dev'
  fact device 'stat -c "%F %t:%T" /dev/given'
  fact device-use 'head -c 2 /dev/given | wc -c'
  fact console 'cat /dev/autofs'
  fact init 'cat /proc/1/comm'
  fact unshare 'unshare -m true && echo made'
  fact chown 'touch /tmp/c && chown 5:6 /tmp/c && stat -c "%u %g" /tmp/c'
  fact file 'stat -c "%u %g %a" /etc/owned'
  fact volume 'touch /data/x && stat -c "%u %g" /data/x /data/owned'
  fact secret 'cat /run/secrets/pw; stat -c "%u %a" /run/secrets/pw'
  fact extra 'cat /vendor/lib'
} | part facts
echo @end
`;

export function parseReadback(text: string): Seen {
  const parts = new Map<string, string>();
  for (const [, name = '', data = ''] of text.replaceAll('\r', '').matchAll(/^@(\w+)\n(.*)$/gm)) {
    parts.set(name, Buffer.from(data, 'base64').toString('utf8'));
  }
  const part = (name: string): string => (parts.get(name) ?? '').trimEnd();
  const status = (name: string): string => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(part('status'))?.[1] ?? '';
  const id = (name: string): number => Number(status(name).split('\t')[1]);
  const list = (name: string): string[] => (parts.get(name) ?? '').split('\0').slice(0, -1);
  const [, first = 0, count = 0] = part('uidmap').trim().split(/\s+/).map(Number);
  return {
    argv: list('argv'),
    env: list('env').sort(),
    cwd: part('cwd'),
    uid: id('Uid'),
    gid: id('Gid'),
    groups: status('Groups').split(' ').filter(Boolean).map(Number),
    capEff: status('CapEff'),
    capBnd: status('CapBnd'),
    noNewPrivs: Number(status('NoNewPrivs')),
    seccomp: Number(status('Seccomp')),
    pid: Number(status('Pid')),
    limits: parseLimits(part('limits')),
    oomScore: Number(part('oom')),
    hostname: part('hostname'),
    hosts: part('hosts'),
    resolv: part('resolv'),
    terminal: part('terminal') === 'yes',
    uidMap: [first, count],
    mounts: parseMounts(part('mounts')),
    facts: Object.fromEntries(
      part('facts')
        .split('\n')
        .map(line => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1).trim()]),
    ),
  };
}

function parseLimits(text: string): Seen['limits'] {
  const rows = text.split('\n').map(line => /^Max (\S.*?) {2,}(\S+) +(\S+)/.exec(line));
  return Object.fromEntries(rows.flatMap(row => (row === null ? [] : [[row[1] ?? '', [row[2] ?? '', row[3] ?? '']]])));
}

/** proc(5): six fields, optional ones up to a dash, then type, source and the file system's options. */
function parseMounts(text: string): Seen['mounts'] {
  const mounts: Record<string, { type: string; options: readonly string[] }> = {};
  for (const line of text.split('\n')) {
    const [head = '', tail = ''] = line.split(' - ');
    const fields = head.split(' ');
    const [type = '', , options = ''] = tail.split(' ');
    mounts[fields[4] ?? ''] = { type, options: [...(fields[5] ?? '').split(','), ...options.split(',')] };
  }
  return mounts;
}
