/**
 * Who a container runs as: "name", "uid", "name:group", "uid:gid" resolved by the /etc/passwd and /etc/group of its own root
 * file system, with Docker's rules. Numbers that do not fit are refused: 4294967296 must not become root.
 *
 * Not here: capabilities and namespaces (../runtime/bundle.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Files } from '../../host.js';
import type { ResolvedUser } from '../images.js';
import { findInRoot } from './root-path.js';

export interface UserRequest {
  readonly rootPath: string;
  readonly user: string;
  /** Further groups, by name or number. */
  readonly groups: readonly string[];
}

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

const fileMaxBytes = 4 * 2 ** 20;
const idMax = 0x7fff_ffff;

export async function resolveUser(
  files: Pick<Files, 'findStat' | 'findLink' | 'readText'>,
  request: UserRequest,
): Promise<ResolvedUser> {
  const passwd = parsePasswd(await readInRoot(files, request.rootPath, '/etc/passwd'));
  const groups = parseGroups(await readInRoot(files, request.rootPath, '/etc/group'));
  return planUser(request, { passwd, groups });
}

/** Empty when it is not there, is no plain file, or is too large to be one. */
async function readInRoot(
  files: Pick<Files, 'findStat' | 'findLink' | 'readText'>,
  rootPath: string,
  path: string,
): Promise<string> {
  const found = await findInRoot(files, rootPath, path);
  if (found === undefined || found.stat.kind !== 'file' || found.stat.sizeBytes > fileMaxBytes) return '';
  return await files.readText(found.path);
}

export function parsePasswd(text: string): readonly PasswdEntry[] {
  return text.split('\n').flatMap(line => {
    const [name = '', , uid = '', gid = '', , home = ''] = line.split(':');
    const [uidNumber, gidNumber] = [findId(uid), findId(gid)];
    return name === '' || uidNumber === undefined || gidNumber === undefined
      ? []
      : [{ name, uid: uidNumber, gid: gidNumber, home }];
  });
}

export function parseGroups(text: string): readonly GroupEntry[] {
  return text.split('\n').flatMap(line => {
    const [name = '', , gid = '', members = ''] = line.split(':');
    const number = findId(gid);
    return name === '' || number === undefined
      ? []
      : [{ name, gid: number, members: members.split(',').filter(member => member !== '') }];
  });
}

/** A number that can be the id of a user or group, or undefined. */
function findId(text: string): number | undefined {
  const value = /^[0-9]{1,10}$/.test(text.trim()) ? Number(text) : Number.NaN;
  return value <= idMax ? value : undefined;
}

export function planUser(
  request: Pick<UserRequest, 'user' | 'groups'>,
  known: { readonly passwd: readonly PasswdEntry[]; readonly groups: readonly GroupEntry[] },
): ResolvedUser {
  const parts = request.user.split(':');
  const [userText = '', groupText = ''] = parts;
  if (parts.length > 2) throw notFound(request.user, 'it is USER or USER:GROUP');
  const entry = findUser(userText === '' ? '0' : userText, known.passwd);
  const uid = entry?.uid ?? idOf(request.user, userText === '' ? '0' : userText, 'user');
  const gid = groupText === '' ? (entry?.gid ?? 0) : groupOf(request.user, groupText, known.groups);
  // As in Docker: a named group is meant alone; without one the user brings the groups that list its name.
  const own =
    groupText === '' && entry !== undefined ? known.groups.filter(group => group.members.includes(entry.name)) : [];
  const further = request.groups.map(group => groupOf(group, group, known.groups));
  const groups = new Set([...own.map(group => group.gid), ...further]);
  return {
    uid,
    gid,
    groups: [...groups].sort((a, b) => a - b),
    home: entry === undefined || entry.home === '' ? '/' : entry.home,
  };
}

/** A name that consists of digits is one too, when /etc/passwd says so. */
function findUser(text: string, passwd: readonly PasswdEntry[]): PasswdEntry | undefined {
  const id = findId(text);
  return (
    passwd.find(entry => entry.name === text) ?? (id === undefined ? undefined : passwd.find(entry => entry.uid === id))
  );
}

function groupOf(whole: string, text: string, groups: readonly GroupEntry[]): number {
  return groups.find(group => group.name === text)?.gid ?? idOf(whole, text, 'group');
}

function idOf(whole: string, text: string, what: 'user' | 'group'): number {
  const id = findId(text);
  if (id !== undefined) return id;
  if (/^[+-]?[0-9]+$/.test(text)) throw notFound(whole, `ids are from 0 to ${idMax}`);
  throw notFound(whole, `the image's ${what === 'user' ? '/etc/passwd' : '/etc/group'} has no ${what} "${text}"`);
}

function notFound(text: string, state: string): CoveyError {
  return new CoveyError('user-not-found', `Cannot run as "${text}"`, {
    state,
    hint: 'use a number, or a name of the image',
  });
}
