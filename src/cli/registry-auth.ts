/**
 * `--with-registry-auth`: the credentials that whoever asks has for the registries of a service's images, to be sent along with
 * the service. Those of ~/.docker/config.json count before those of `covey login`.
 *
 * Called by the commands of services and stacks. Not here: which entry fits which image (tasks/image, in the daemon).
 */
import type { ServiceSpec } from '../gen/types.js';
import type { CliContext } from './context.js';
import type { OptionDefinition } from './definition.js';
import type { Flags } from './flags.js';

export const registryAuthOption: OptionDefinition = {
  flags: '--with-registry-auth',
  says: 'Send your credentials for the registries of its images to the nodes that pull them',
};

/** For each of them; undefined without the flag. */
export async function findRegistryAuth(
  context: CliContext,
  flags: Flags,
  specs: readonly ServiceSpec[],
): Promise<readonly string[] | undefined> {
  if (!flags.isOn('with-registry-auth')) return undefined;
  const { homeDirectory, env, findFile } = context.console;
  const userPath = `${env['DOCKER_CONFIG'] || `${homeDirectory ?? ''}/.docker`}/config.json`;
  const userFile = new TextDecoder().decode(findFile(userPath) ?? new Uint8Array(0));
  const { local } = await context.connect();
  const found: string[] = [];
  const missing = new Set<string>();
  for (const spec of specs) {
    const request = { images: imagesOf(spec), userFile, userPath };
    const answer = await local.pickCredentials(request, { signal: context.signal });
    found.push(answer.registryAuth);
    for (const registry of answer.missing) missing.add(registry);
  }
  for (const registry of missing)
    await context.note(`note: you have no credential for ${registry}: its images are pulled without one`);
  return found;
}

/** Those of its containers, and those that are mounted. */
function imagesOf({ task }: ServiceSpec): readonly string[] {
  const images = task.containers.flatMap(({ image, mounts }) => [
    image,
    ...mounts.filter(({ kind }) => kind === 'image').map(({ source }) => source),
  ]);
  return [...new Set(images)];
}
