/**
 * DNS messages: a question read, an answer written (dns-packet does the bytes). Survives EDNS, cuts what does not fit a
 * datagram and says so, keeps the letters of the question as they came.
 *
 * Pure. Not here: what a name stands for (records.ts), sockets (server.ts), asking outside (upstream.ts).
 */
import * as dnsPacket from 'dns-packet';
import type { Answer, Asker, QuestionType, Records } from './records.js';
import { findAnswer } from './records.js';

export interface Query {
  readonly id: number;
  /** Recursion desired, as the client set it. */
  readonly flags: number;
  readonly name: string;
  readonly type: string;
  readonly isInternet: boolean;
  /** Size of datagrams that the client takes; undefined: it did not use EDNS. */
  readonly edns: number | undefined;
}

export type Reply =
  | { readonly kind: 'reply'; readonly packet: Buffer }
  /** Ask outside. */
  | { readonly kind: 'outside'; readonly query: Query }
  /** Not even a header: no answer at all. */
  | { readonly kind: 'ignore' };

const datagramPlain = 512;
/** What passes every network without fragments. */
const datagramMax = 1_232;
const streamMax = 65_535;
const rcodes = { noError: 0, formatError: 1, serverFailure: 2, noSuchName: 3, notImplemented: 4, refused: 5 } as const;
const negativeTtlSeconds = 1;

export interface AnswerOptions {
  readonly records: Records;
  /** Who asks; undefined: nobody that this node knows. */
  readonly asker: Asker | undefined;
  readonly transport: 'udp' | 'tcp';
  /** In [0, 1): addresses are given in random order. */
  readonly random: () => number;
}

export function answerQuery(packet: Buffer, options: AnswerOptions): Reply {
  // Answers are never answered: two resolvers would go on for ever.
  if (packet.length < 12 || (packet.readUInt16BE(2) & 0x8000) !== 0) return { kind: 'ignore' };
  const query = findQuery(packet);
  if (query === undefined) return failure({ id: packet.readUInt16BE(0), rcode: rcodes.formatError });
  if ((packet.readUInt16BE(2) & 0x7800) !== 0) return failure({ id: query.id, query, rcode: rcodes.notImplemented });
  const { asker } = options;
  if (asker === undefined || !query.isInternet) return failure({ id: query.id, query, rcode: rcodes.refused });
  const answer = findAnswer(options.records, asker, { name: query.name, type: questionType(query.type) });
  if (answer.kind === 'outside') return { kind: 'outside', query };
  return { kind: 'reply', packet: renderAnswer(query, answer, options) };
}

export function findQuery(packet: Buffer): Query | undefined {
  try {
    const decoded = dnsPacket.decode(packet);
    const question = decoded.questions?.[0];
    if (question === undefined || (decoded.questions?.length ?? 0) !== 1) return undefined;
    const opt = decoded.additionals?.find(record => record.type === 'OPT');
    return {
      id: decoded.id ?? 0,
      flags: (decoded.flags ?? 0) & dnsPacket.RECURSION_DESIRED,
      name: question.name,
      type: question.type,
      isInternet: question.class === undefined || question.class === 'IN' || question.class === 'ANY',
      edns: opt?.type === 'OPT' ? opt.udpPayloadSize : undefined,
    };
  } catch {
    // Cut short or malformed: the caller answers with a format error.
    return undefined;
  }
}

function questionType(type: string): QuestionType {
  return type === 'A' || type === 'AAAA' || type === 'PTR' || type === 'SRV' ? type : 'other';
}

/** Refusals and failures, with the question when it could be read. */
function failure(options: { readonly id: number; readonly rcode: number; readonly query?: Query }): Reply {
  const { id, rcode, query } = options;
  if (query === undefined) {
    const header = Buffer.alloc(12);
    header.writeUInt16BE(id, 0);
    header.writeUInt16BE(0x8000 | rcode, 2);
    return { kind: 'reply', packet: header };
  }
  return { kind: 'reply', packet: encode(query, { rcode, answers: [] }, streamMax) };
}

/** The answer when no resolver outside did. */
export function renderServerFailure(query: Query): Buffer {
  return encode(query, { rcode: rcodes.serverFailure, answers: [] }, streamMax);
}

/** An answer of others that is more than the client takes in one datagram: it asks again by TCP. */
export function renderCut(query: Query): Buffer {
  return encode(
    { ...query, flags: query.flags | dnsPacket.TRUNCATED_RESPONSE },
    { rcode: rcodes.noError, answers: [] },
    streamMax,
  );
}

/** The largest datagram that may go back to the client, whatever it says it takes. */
export function sizeLimitOf(query: Query, transport: 'udp' | 'tcp', largest = datagramMax): number {
  if (transport === 'tcp') return streamMax;
  return query.edns === undefined ? datagramPlain : Math.min(largest, Math.max(datagramPlain, query.edns));
}

interface Sections {
  readonly rcode: number;
  readonly answers: readonly dnsPacket.Answer[];
  readonly additionals?: readonly dnsPacket.Answer[];
  readonly authorities?: readonly dnsPacket.Answer[];
}

function renderAnswer(query: Query, answer: Answer, options: AnswerOptions): Buffer {
  return encode(query, sectionsOf(query, answer, options.random), sizeLimitOf(query, options.transport));
}

function sectionsOf(query: Query, answer: Answer, random: () => number): Sections {
  const { name } = query;
  switch (answer.kind) {
    case 'addresses':
      return {
        rcode: rcodes.noError,
        answers: shuffled(answer.addresses, random).map(data => ({ type: 'A', name, ttl: answer.ttl, data })),
      };
    case 'services':
      return {
        rcode: rcodes.noError,
        answers: shuffled(answer.targets, random).map(target => ({
          type: 'SRV',
          name,
          ttl: answer.ttl,
          data: { priority: 1, weight: 1, port: target.port, target: target.name },
        })),
        additionals: answer.targets.flatMap(target =>
          target.addresses.map(data => ({ type: 'A' as const, name: target.name, ttl: answer.ttl, data })),
        ),
      };
    case 'pointer':
      return { rcode: rcodes.noError, answers: [{ type: 'PTR', name, ttl: answer.ttl, data: answer.name }] };
    case 'empty':
      return { rcode: rcodes.noError, answers: [], authorities: [negative(name)] };
    case 'no-such-name':
    case 'outside':
      return { rcode: rcodes.noSuchName, answers: [], authorities: [negative(name)] };
  }
}

/** Says for how long "no" may be remembered: no longer than the list of tasks. */
function negative(name: string): dnsPacket.Answer {
  const data = {
    mname: 'covey',
    rname: 'covey',
    serial: 1,
    refresh: 1,
    retry: 1,
    expire: 1,
    minimum: negativeTtlSeconds,
  };
  return { type: 'SOA', name, ttl: negativeTtlSeconds, data };
}

function shuffled<Item>(items: readonly Item[], random: () => number): Item[] {
  const list = [...items];
  for (let last = list.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    const [a, b] = [list[last], list[other]];
    if (a === undefined || b === undefined) continue;
    list[last] = b;
    list[other] = a;
  }
  return list;
}

/** Additional records go first when it is too long, then all answers, and the client asks again by TCP. */
function encode(query: Query, sections: Sections, limit: number): Buffer {
  const base = dnsPacket.AUTHORITATIVE_ANSWER | dnsPacket.RECURSION_AVAILABLE | query.flags | sections.rcode;
  const opt = { type: 'OPT', name: '.', udpPayloadSize: datagramMax, extendedRcode: 0, ednsVersion: 0, flags: 0 };
  const edns = query.edns === undefined ? [] : [{ ...opt, flag_do: false, options: [] } as unknown as dnsPacket.Answer];
  const write = (flags: number, parts: Omit<Sections, 'rcode'>): Buffer =>
    dnsPacket.encode({
      id: query.id,
      type: 'response',
      flags,
      questions: [{ name: query.name, type: query.type as dnsPacket.RecordType, class: 'IN' }],
      answers: [...parts.answers],
      authorities: [...(parts.authorities ?? [])],
      additionals: [...(parts.additionals ?? []), ...edns],
    });
  const whole = write(base, sections);
  if (whole.length <= limit) return whole;
  const short = write(base, { answers: sections.answers });
  return short.length <= limit ? short : write(base | dnsPacket.TRUNCATED_RESPONSE, { answers: [] });
}
