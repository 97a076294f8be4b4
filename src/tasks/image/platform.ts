/**
 * Chooses one of the variants of an image: same system and architecture, and the best variant of the processor that is not
 * newer than the wanted one.
 *
 * Not here: reading indexes (archive.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Descriptor, Platform } from './oci.js';

/** Node's names of processors -> those of OCI. */
const architectures: Readonly<Record<string, Platform>> = {
  x64: { os: 'linux', architecture: 'amd64', variant: '' },
  arm64: { os: 'linux', architecture: 'arm64', variant: 'v8' },
  arm: { os: 'linux', architecture: 'arm', variant: 'v7' },
  ia32: { os: 'linux', architecture: '386', variant: '' },
  ppc64: { os: 'linux', architecture: 'ppc64le', variant: '' },
  riscv64: { os: 'linux', architecture: 'riscv64', variant: '' },
  s390x: { os: 'linux', architecture: 's390x', variant: '' },
  loong64: { os: 'linux', architecture: 'loong64', variant: '' },
};

/** The platform of a machine by Node's name of its processor. */
export function platformOf(nodeArchitecture: string): Platform {
  return architectures[nodeArchitecture] ?? { os: 'linux', architecture: nodeArchitecture, variant: '' };
}

/** "linux/arm/v7", "arm64". Throws bad-argument. */
export function parsePlatform(text: string): Platform {
  const parts = text.split('/');
  const [os = '', architecture = '', variant = ''] = parts.length === 1 ? ['linux', ...parts] : parts;
  if (
    parts.length > 3 ||
    ![os, architecture].every(part => /^[a-z0-9_]+$/.test(part)) ||
    !/^[a-z0-9.]*$/.test(variant)
  ) {
    throw new CoveyError('bad-argument', `Cannot use "${text}" as a platform`, {
      hint: 'os/architecture[/variant], for example linux/arm64',
    });
  }
  return { os, architecture, variant: variant === '' ? defaultVariant(architecture) : variant };
}

export function renderPlatform(platform: Platform): string {
  return [platform.os, platform.architecture, platform.variant].filter(part => part !== '').join('/');
}

function defaultVariant(architecture: string): string {
  return architecture === 'arm64' ? 'v8' : architecture === 'arm' ? 'v7' : '';
}

/** Whether a machine of the wanted platform runs images of the other. */
export function platformFits(wanted: Platform, offered: Platform): boolean {
  return rankOf(wanted, offered) !== undefined;
}

/**
 * The best of the descriptors, or undefined. One without a platform counts only when it is alone: it says nothing against
 * itself. What is marked as unknown is no image (attestations).
 */
export function choosePlatform(wanted: Platform, offered: readonly Descriptor[]): Descriptor | undefined {
  const only = offered.length === 1 ? offered[0] : undefined;
  if (only !== undefined && (only.platform === undefined || only.platform.architecture === '')) return only;
  const ranked = offered.flatMap(descriptor => {
    const rank = descriptor.platform === undefined ? undefined : rankOf(wanted, descriptor.platform);
    return rank === undefined ? [] : [{ descriptor, rank }];
  });
  return ranked.sort((a, b) => b.rank - a.rank)[0]?.descriptor;
}

/** Higher is better; undefined: does not run there. */
function rankOf(wanted: Platform, offered: Platform): number | undefined {
  if (offered.os !== wanted.os || offered.architecture !== wanted.architecture) return undefined;
  const most = variantNumber(wanted.architecture, wanted.variant);
  const needs = variantNumber(offered.architecture, offered.variant);
  return needs <= most ? needs : undefined;
}

/** v7 -> 7; an empty variant is the least that all processors of that kind can do. */
function variantNumber(architecture: string, variant: string): number {
  const least = architecture === 'arm64' ? 8 : architecture === 'arm' ? 5 : 1;
  const found = /^v(\d+)/.exec(variant)?.[1];
  return found === undefined ? least : Number(found);
}
