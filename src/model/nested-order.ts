/**
 * Puts the mutations that one transaction made in one table into the order in which they happened. Writes nested in
 * triggers and volatile functions are logged before the statement around them, so log order alone can turn two
 * versions of a row round.
 *
 * Invariant: for one key, versions come out in the order in which they came to be. Two facts decide it: the version
 * that a mutation ended was begun by an earlier one (their ctids join them into runs), and a key is held by one row at
 * a time (who frees it comes before who takes it; a holder older than the transaction comes first, one that is still
 * alive last). Where neither decides, log order stands.
 */

export interface NestedMutation {
  readonly seq: bigint;
  /** Where its versions lie: ctids are unique in it. A partition, and how often it was truncated before. */
  readonly place: string;
  /** The place was truncated later in the transaction, so nothing of it is alive at the end. */
  readonly emptied: boolean;
  readonly oldCtid: string | null;
  readonly newCtid: string | null;
  /** JSON text of the key; null where there is none on that side. Equal keys have equal texts. */
  readonly oldKey: string | null;
  readonly newKey: string | null;
}

/** A time during which one row held a key. Ends are mutations; undefined: before or after the transaction. */
interface Hold {
  readonly taken: Node | undefined;
  readonly freed: Node | undefined;
  readonly gone: boolean;
}

interface Node {
  readonly mutation: NestedMutation;
  readonly after: Node[];
  /** Mutations of the same run that are not out yet: 0 or 1. */
  chained: number;
  /** Those that must free a key first and are not out yet. */
  waiting: number;
  done: boolean;
}

type Precedence = (hold: Hold) => bigint;

/**
 * What log order says of holders in between, of whom nothing else is known. Each guess is held against the rest: one
 * that makes mutations wait for each other in a ring is wrong, and the next is tried.
 */
const GUESSES: readonly Precedence[] = [
  (hold) => hold.taken?.mutation.seq ?? 0n,
  (hold) => hold.freed?.mutation.seq ?? 0n,
  (hold) => -(hold.taken?.mutation.seq ?? 0n),
  (hold) => -(hold.freed?.mutation.seq ?? 0n),
  (hold) => (hold.taken?.mutation.seq ?? 0n) + (hold.freed?.mutation.seq ?? 0n),
];

/** Returns the same mutations, reordered. O(n log n). */
export function orderNested(mutations: readonly NestedMutation[]): readonly NestedMutation[] {
  const sorted = [...mutations].sort((a, b) => (a.seq < b.seq ? -1 : 1));
  for (const guess of GUESSES) {
    const ordered = attempt(sorted, guess);
    if (ordered.length === sorted.length) return ordered;
  }
  return searchOrder(sorted) ?? attempt(sorted, undefined);
}

/** Steps of a search before it is given up: it is reached by contrived histories alone, and those are short. */
const MOST_STEPS = 100_000;

/**
 * Where every guess makes a ring: tries one mutation after another, the lowest number first, and takes back what leads
 * nowhere. A key is taken when nobody holds it, and by the one that keeps it when all others have had it.
 */
function searchOrder(mutations: readonly NestedMutation[]): readonly NestedMutation[] | undefined {
  const nodes = mutations.map(
    (mutation): Node => ({ mutation, after: [], chained: 0, waiting: 0, done: false }),
  );
  const next = joinRuns(nodes);
  const held = new Set<string>();
  /** Holds of a key that have an end. */
  const passing = new Map<string, number>();
  const keeps = new Set<Node>();
  for (const [key, holds] of holdsByKey(nodes, next)) {
    if (holds.some((hold) => hold.taken === undefined)) held.add(key);
    passing.set(key, holds.filter((hold) => hold.freed !== undefined).length);
    for (const hold of holds) if (hold.taken && !hold.freed && !hold.gone) keeps.add(hold.taken);
  }
  const changes = ({ oldKey, newKey }: NestedMutation) => ({
    freed: oldKey !== null && oldKey !== newKey ? oldKey : undefined,
    taken: newKey !== null && oldKey !== newKey ? newKey : undefined,
  });
  const move = (node: Node, direction: 1 | -1) => {
    const { freed, taken } = changes(node.mutation);
    const [leaves, enters] = direction === 1 ? [freed, taken] : [taken, freed];
    if (leaves !== undefined) held.delete(leaves);
    if (enters !== undefined) held.add(enters);
    if (freed !== undefined) passing.set(freed, (passing.get(freed) ?? 0) - direction);
    node.done = direction === 1;
    const follower = next.get(node);
    if (follower) follower.chained -= direction;
  };
  const ready = (node: Node) => {
    if (node.done || node.chained > 0) return false;
    const { taken } = changes(node.mutation);
    if (taken === undefined) return true;
    return !held.has(taken) && !(keeps.has(node) && (passing.get(taken) ?? 0) > 0);
  };
  const out: Node[] = [];
  let from = 0;
  for (let steps = 0; steps < MOST_STEPS; steps += 1) {
    if (out.length === nodes.length) return out.map((node) => node.mutation);
    const node = nodes.slice(from).find(ready);
    if (node) {
      move(node, 1);
      out.push(node);
      from = 0;
      continue;
    }
    const last = out.pop();
    if (last === undefined) return undefined;
    move(last, -1);
    from = nodes.indexOf(last) + 1;
  }
  return undefined;
}

/** Stops short where the guess makes a ring. Without a guess, chains and the certain holders alone decide. */
function attempt(
  mutations: readonly NestedMutation[],
  guess: Precedence | undefined,
): readonly NestedMutation[] {
  const nodes = mutations.map(
    (mutation): Node => ({ mutation, after: [], chained: 0, waiting: 0, done: false }),
  );
  const next = joinRuns(nodes);
  for (const holds of holdsByKey(nodes, next).values()) {
    const ordered = inOrder(holds, guess ?? ((hold) => hold.taken?.mutation.seq ?? 0n));
    for (const [i, hold] of ordered.entries()) {
      const before = ordered[i - 1];
      const certain = before?.taken === undefined || hold.freed === undefined;
      if (!before?.freed || !hold.taken || before.freed === hold.taken || !(guess || certain)) continue;
      before.freed.after.push(hold.taken);
      hold.taken.waiting += 1;
    }
  }
  return emit(nodes, next).map((node) => node.mutation);
}

const version = (place: string, ctid: string) => `${place} ${ctid}`;

/** Each mutation's successor: the one that ended the version which it began. */
function joinRuns(nodes: readonly Node[]): ReadonlyMap<Node, Node> {
  const begun = new Map<string, Node>();
  for (const node of nodes) {
    const { place, newCtid } = node.mutation;
    if (newCtid !== null) begun.set(version(place, newCtid), node);
  }
  const next = new Map<Node, Node>();
  for (const node of nodes) {
    const { place, oldCtid } = node.mutation;
    const before = oldCtid === null ? undefined : begun.get(version(place, oldCtid));
    if (!before || before === node) continue;
    next.set(before, node);
    node.chained = 1;
  }
  return next;
}

function holdsByKey(nodes: readonly Node[], next: ReadonlyMap<Node, Node>): ReadonlyMap<string, Hold[]> {
  const holds = new Map<string, Hold[]>();
  const add = (key: string | null, hold: Hold) => {
    if (key === null) return;
    const found = holds.get(key);
    if (found) found.push(hold);
    else holds.set(key, [hold]);
  };
  for (const start of nodes) {
    if (start.chained > 0) continue;
    let key = start.mutation.oldKey;
    let taken: Node | undefined;
    let last = start;
    for (let node: Node | undefined = start; node; node = next.get(node)) {
      const { oldKey, newKey } = node.mutation;
      if (newKey !== key || oldKey === null) {
        if (oldKey !== null) add(key, { taken, freed: node, gone: true });
        key = newKey;
        taken = node;
      }
      last = node;
    }
    add(key, { taken, freed: undefined, gone: last.mutation.emptied });
  }
  return holds;
}

/** Older than the transaction first, alive at its end last. */
function inOrder(holds: readonly Hold[], guess: Precedence): readonly Hold[] {
  const rank = (hold: Hold) => (hold.taken === undefined ? 0 : hold.freed || hold.gone ? 1 : 2);
  return [...holds].sort((a, b) => rank(a) - rank(b) || (guess(a) < guess(b) ? -1 : 1));
}

/** Log order, except that nobody goes before those that he waits for. */
function emit(nodes: readonly Node[], next: ReadonlyMap<Node, Node>): readonly Node[] {
  const out: Node[] = [];
  const ready = (node: Node) => !node.done && node.chained === 0 && node.waiting === 0;
  const finish = (first: Node, reached: bigint) => {
    const stack = [first];
    for (let node = stack.pop(); node; node = stack.pop()) {
      if (!ready(node)) continue;
      node.done = true;
      out.push(node);
      const released = [...node.after];
      for (const one of node.after) one.waiting -= 1;
      const follower = next.get(node);
      if (follower) {
        follower.chained = 0;
        released.push(follower);
      }
      // Whoever was passed over in log order and is free now goes at once; the lowest number first.
      const passed = released.filter((one) => one.mutation.seq < reached);
      passed.sort((a, b) => (a.mutation.seq < b.mutation.seq ? 1 : -1));
      stack.push(...passed);
    }
  };
  for (const node of nodes) finish(node, node.mutation.seq);
  return out;
}
