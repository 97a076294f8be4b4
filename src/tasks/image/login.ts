/**
 * Tries a credential where it is for, and keeps it when it is taken.
 *
 * In the daemon, because what is kept is the daemon's: one small request each. Not here: the file (registry-files.ts).
 */
import { CoveyError } from '../../errors.js';
import { parseReference } from './reference.js';
import { openRegistry, openTransport, patienceLimits } from './registry/index.js';
import { keepCredential, readRegistries } from './registry-files.js';
import type { StoreState } from './store-state.js';
import type { RegistryLogin } from './store-types.js';

const loginTimeoutMs = 30_000;

export async function login(parts: StoreState, request: RegistryLogin, signal: AbortSignal): Promise<void> {
  const registry = registryOf(request.registry);
  const credential = { kind: 'password', username: request.username, password: request.password } as const;
  if (credential.username === '' || credential.password === '')
    throw new CoveyError('bad-argument', `Cannot log in to "${registry}": a user and a password are needed`);
  const place = (await readRegistries(parts, { registry, repository: 'covey/login' }, { anonymous: true })).at(-1);
  if (place === undefined) throw new CoveyError('bug', `Cannot log in to "${registry}": there is no place to ask`);
  using transport = openTransport(parts.registries.proxy);
  const client = openRegistry({
    endpoint: { ...place.endpoint, credential },
    tls: place.tls,
    transport,
    clock: parts.host.clock,
    userAgent: 'covey',
    isLogin: true,
  });
  const deadline = AbortSignal.timeout(Math.min(loginTimeoutMs, patienceLimits.giveUpMs));
  const answer = await client.ask({
    method: 'GET',
    path: '',
    headers: {},
    signal: AbortSignal.any([signal, deadline]),
  });
  answer.discard();
  const token = client.findRefreshToken();
  const kept = token === undefined ? credential : ({ kind: 'identity', username: request.username, token } as const);
  await keepCredential(parts, registry, kept);
}

export async function logout(parts: StoreState, registry: string): Promise<boolean> {
  return await keepCredential(parts, registryOf(registry), undefined);
}

/** "", "docker.io", "localhost:5000", "https://host/". */
function registryOf(text: string): string {
  const bare = text.replace(/^https?:\/\//, '').replace(/\/+$/, '');
  if (bare === '') return 'docker.io';
  return parseReference(`${bare}/x`).registry === bare ? bare : parseReference(`${bare}/x`).registry;
}
