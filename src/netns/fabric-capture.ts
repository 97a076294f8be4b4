/**
 * What people look at in the fabric: packets of a task's link or of a tunnel, and the way of packets through the rules, with the
 * names of links and the texts of rules.
 *
 * Not here: reading packets (capture.ts), reading ways (trace.ts).
 */
import { CoveyError } from '../errors.js';
import type { CaptureLink, CaptureStart } from '../gen/types.js';
import type { Clock, Kernel } from '../host.js';
import { type Attachment, addressesOf } from './attachment.js';
import { capture } from './capture.js';
import { deviceHost, deviceIngress, deviceOverlay } from './constants.js';
import { isAddressV4 } from './ip.js';
import { listLinks } from './netlink/links.js';
import { parseRules } from './nft/listing.js';
import { choiceChain, fabricSkeleton, isChoice } from './nft/skeleton.js';
import type { Fabric } from './overlay.js';
import { openWays, trace } from './trace.js';

interface Place {
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly fabric: Fabric;
  readonly prefix: string;
  readonly attachment: Attachment;
}

export async function* captureOf(place: Place, start: CaptureStart, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const { kernel, clock, fabric, attachment } = place;
  const { namespace } = fabric;
  const { address, port, count } = start;
  if (address !== '' && !isAddressV4(address)) {
    throw new CoveyError('bad-argument', `Cannot look for packets of "${address}": it is no IPv4 address`);
  }
  const links = listLinks(fabric.netlink);
  if (!start.trace) {
    const device = deviceOf(start.link, attachment);
    const link = links.find(one => one.name === device);
    if (link === undefined) throw new CoveyError('not-found', `Cannot find link ${device} in the fabric`);
    yield* capture(
      { kernel, clock, namespace },
      { interfaceIndex: link.index, count, filter: { address, port } },
      signal,
    );
    return;
  }
  const rules = await ruleTexts(place);
  const names = new Map(links.map(link => [link.index, link.name === attachment.device ? 'the task' : link.name]));
  using nft = kernel.openNft(namespace);
  const ways = openWays({
    table: place.prefix,
    rule: (chain, handle) => rules.get(`${chain} ${handle}`),
    device: index => names.get(index) ?? (index === 0 ? 'this node' : `link ${index}`),
  });
  const { device } = attachment;
  const addresses = addressesOf(attachment);
  const target = { kernel, clock, namespace, nft, prefix: place.prefix, device, addresses, ways };
  yield* trace(target, { count, filter: { address, port } }, signal);
}

function deviceOf(link: CaptureLink, { device }: Attachment): string {
  return { task: device, overlay: deviceOverlay, ingress: deviceIngress, host: deviceHost }[link];
}

/** By chain and handle. The kernel gives handles; the texts are those that the chains were made from, in the same order. */
async function ruleTexts({ fabric, prefix }: Place): Promise<ReadonlyMap<string, string>> {
  const { chains, table } = fabricSkeleton(prefix);
  const seen = parseRules(await fabric.nft.run(`list table ${table}`));
  const texts = new Map<string, string>();
  for (const [chain, rules] of Map.groupBy(seen, rule => rule.chain)) {
    const made = isChoice(chain) ? choiceChain(chain) : chains.find(one => one.name === chain);
    for (const [at, { handle }] of rules.entries()) texts.set(`${chain} ${handle}`, made?.rules[at] ?? '');
  }
  return texts;
}
