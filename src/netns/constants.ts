/**
 * Names and numbers of the data plane: devices of the fabric, link-local addresses, marks, routing tables.
 *
 * One mark says what a packet's way is, and the same number in its connection's mark how the connection came in:
 *
 *   0                  between containers, or out: routed by the main table
 *   markEntered        on its way to a backend of a published port: goes by the ingress tunnel if that is on another node
 *   markHost           reply of a connection that came in by this node's host link: goes back by it
 *   markSelf           (connection only) a container used a published port of its own node
 *   markNode + index   reply of a connection that came in by another node: goes back to that node
 *
 * Numbers below 0x10000 are places in a list of backends, for the moment of choosing one.
 */
import { CoveyError } from '../errors.js';
import { addressOfNumber, numberOfV4 } from './ip.js';

/** Of the fabric. */
export const deviceHost = 'host0';
export const deviceOverlay = 'cv0';
export const deviceIngress = 'cv1';
/** Of a container. */
export const deviceContainer = 'eth0';
export const containerLinkIndex = 2;

/** The gateway and resolver that every container sees; owned by the fabric's loopback. */
export const gatewayAddress = '169.254.1.1';
/** Where many configurations expect a resolver. Each container has a route for it to the fabric, whose loopback owns it. */
export const resolverAlias = '127.0.0.11';
/** All ends of container links in the fabric have this MAC, so that a container's neighbour entry is known beforehand. */
export const gatewayMac = '02:c1:00:00:00:01';

/** Host links of all coveys are in this group of links: none takes another's for an uplink. */
export const linkGroup = 7377;

export const markEntered = 0x10000;
export const markHost = 0x20000;
export const markSelf = 0x30000;
export const markNode = 0x40000;

export const tableEntered = 1001;
export const tableHost = 1002;
/** The ways to tunnel addresses inside WireGuard: looked at first, since the mark of a packet is that of what it carries. */
export const tableSecure = 1003;
export const prioritySecure = 50;
export const priorityEntered = 100;
export const priorityHost = 101;
export const priorityNode = 102;

/** A connection that one side has closed and the other has not may be silent for so long. */
export const halfClosedSeconds = 7_200;

/** VXLAN: outer Ethernet, IP, UDP and VXLAN headers. */
export const tunnelOverheadBytes = { v4: 50, v6: 70 } as const;
export const mtuMin = 576;

const tunnelBase = numberOfV4('169.254.64.0');
export const tunnelIndexMax = 16_383;

export function tunnelAddress(index: number): string {
  if (!Number.isInteger(index) || index < 1 || index > tunnelIndexMax) {
    throw new CoveyError('bug', `Cannot use ${index} as a tunnel index`);
  }
  return addressOfNumber(tunnelBase + index);
}

export function tunnelMac(index: number): string {
  return `02:c0:${macTail(index)}`;
}

/** Of a container's link, from its first address: the same address always has the same MAC. */
export function containerMac(address: string): string {
  return `02:c2:${macTail(numberOfV4(address))}`;
}

function macTail(value: number): string {
  return value
    .toString(16)
    .padStart(8, '0')
    .replace(/(..)(?=.)/g, '$1:');
}

/** The fabric's end of a task's link. 14 characters of base 36 are 72 bits of the id. */
export function taskDevice(taskId: string): string {
  return `v${taskId.slice(0, 14)}`;
}

export function isTaskDevice(name: string): boolean {
  return /^v[0-9a-z]{14}$/.test(name);
}

/** The file that says which process keeps the sockets of the resolver. */
export const resolverSocketsAt = (runDir: string): string => `${runDir}/resolver-sockets`;
