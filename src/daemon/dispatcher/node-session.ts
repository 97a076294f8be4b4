/**
 * One open session as the manager sees it: what was sent, what was acknowledged, what is still to say. Nothing is queued but
 * small urgent messages: tables and assignments are computed from the store at the moment in which they are sent, so a slow
 * node costs no memory and gets the latest only.
 *
 * Order within one turn: urgent messages, tables, assignments (a task's networks are shown before it starts).
 *
 * Not here: the stream (dispatcher.ts), what is wanted (tables.ts, assignments.ts).
 */
import type { Acknowledgement, ManagerMessage } from '../../gen/types.js';
import type { NodeId } from '../../ids.js';
import type { View } from '../../raft/store.js';
import { diffAssignments, nothingWanted, type WantedOfNode } from './assignments.js';
import { isSame, type TablePlans, type TableSet } from './table-plans.js';

export interface NodeSession {
  readonly nodeId: NodeId;
  /** "address:port" that it calls from; undefined: from this very daemon. */
  readonly peer: string | undefined;
  sentTables: TableSet | undefined;
  sentWanted: WantedOfNode | undefined;
  readonly unacknowledged: { readonly version: number; readonly epoch: number }[];
  /** The change of tables that the node shows, and the one that was sent to it (or that sent it nothing). */
  shownEpoch: number;
  sentEpoch: number;
  tablesDirty: boolean;
  assignmentsDirty: boolean;
  /** The node is ready in the store: from then on it gets assignments. */
  admitted: boolean;
  readonly urgent: ManagerMessage[];
  ended: { readonly error: unknown } | undefined;
  wake: (() => void) | undefined;
  /** Called once when the session ends. */
  onEnd: (() => void) | undefined;
}

/** The open session of each node. */
export type Sessions = Map<NodeId, NodeSession>;

const urgentMax = 256;

export function makeNodeSession(nodeId: NodeId, peer?: string): NodeSession {
  return {
    nodeId,
    peer,
    sentTables: undefined,
    sentWanted: undefined,
    unacknowledged: [],
    shownEpoch: 0,
    sentEpoch: 0,
    tablesDirty: true,
    assignmentsDirty: true,
    admitted: false,
    urgent: [],
    ended: undefined,
    wake: undefined,
    onEnd: undefined,
  };
}

export function endSession(session: NodeSession, error: unknown): void {
  if (session.ended !== undefined) return;
  session.ended = { error };
  session.wake?.();
  session.onEnd?.();
}

/** What the sessions of one manager share while it leads. */
export interface Sending {
  readonly view: View;
  readonly term: number;
  /** Of the last change that concerned tables. */
  readonly epoch: number;
  readonly tables: TablePlans;
  readonly planAssignments: (nodeId: NodeId) => WantedOfNode;
  /** Grows with each message of this leadership. */
  readonly nextSequence: () => number;
}

/** The next message, or undefined when the node has all. */
export function nextMessage(session: NodeSession, sending: Sending): ManagerMessage | undefined {
  const urgent = session.urgent.shift();
  if (urgent !== undefined) return urgent;
  if (session.tablesDirty) {
    session.tablesDirty = false;
    const message = tablesMessage(session, sending);
    if (message !== undefined) return message;
  }
  if (session.assignmentsDirty && session.admitted) {
    session.assignmentsDirty = false;
    return assignmentsMessage(session, sending);
  }
  return undefined;
}

function tablesMessage(session: NodeSession, sending: Sending): ManagerMessage | undefined {
  const { epoch, term, tables } = sending;
  const wanted = tables.wanted(session.nodeId, epoch);
  if (isShown(session, wanted, sending)) return undefined;
  const news = tables.news(session.sentTables, wanted);
  session.sentTables = wanted;
  session.sentEpoch = epoch;
  const version = sending.nextSequence();
  session.unacknowledged.push({ version, epoch });
  return tables.message(news, { term, version });
}

type TablesNow = Pick<Sending, 'tables' | 'epoch'>;

/** Whether there is nothing to say about the tables: then it is noted which change that holds for. */
function isShown(session: NodeSession, wanted: TableSet, { tables, epoch }: TablesNow): boolean {
  if (session.sentTables === undefined) return false;
  if (wanted !== session.sentTables && !isSame(tables.news(session.sentTables, wanted))) return false;
  session.sentTables = wanted;
  session.sentEpoch = epoch;
  if (session.unacknowledged.length === 0) session.shownEpoch = epoch;
  return true;
}

/** Looks whether the session has to say anything about its tables; one that has not need not be woken for that. */
export function lookAtTables(session: NodeSession, now: TablesNow): void {
  const { tables, epoch } = now;
  if (session.tablesDirty && isShown(session, tables.wanted(session.nodeId, epoch), now)) session.tablesDirty = false;
}

function assignmentsMessage(session: NodeSession, sending: Sending): ManagerMessage | undefined {
  const wanted = sending.planAssignments(session.nodeId);
  const full = session.sentWanted === undefined;
  const changes = diffAssignments(session.sentWanted ?? nothingWanted, wanted);
  session.sentWanted = wanted;
  if (!full && changes === undefined) return undefined;
  const nothing = { tasks: [], removedTasks: [], secrets: [], configs: [] };
  return {
    body: { kind: 'assignments', term: sending.term, sequence: sending.nextSequence(), full, ...(changes ?? nothing) },
  };
}

/** Notes what the node has put into effect. */
export function acknowledge(session: NodeSession, acknowledgement: Acknowledgement): void {
  for (;;) {
    const first = session.unacknowledged[0];
    if (first === undefined || first.version > acknowledgement.tables) break;
    session.unacknowledged.shift();
    session.shownEpoch = first.epoch;
  }
  if (session.unacknowledged.length === 0) session.shownEpoch = session.sentEpoch;
}

/** Whether the node shows the change of tables; one that was never told of the key has nothing to show. */
export function shows(session: NodeSession, epoch: number, key?: string): boolean {
  if (session.ended !== undefined || session.shownEpoch >= epoch) return true;
  const { sentTables } = session;
  return key !== undefined && sentTables !== undefined && !sentTables.base.has(key) && !sentTables.own.has(key);
}

/** False when the session has ended or is far behind. */
export function pushUrgent(session: NodeSession | undefined, message: ManagerMessage): boolean {
  if (session === undefined || session.ended !== undefined || session.urgent.length >= urgentMax) return false;
  session.urgent.push(message);
  session.wake?.();
  return true;
}
