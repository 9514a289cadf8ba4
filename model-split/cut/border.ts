/**
 * Where to cut: for each pair of neighbouring layers the smallest set of tensors that
 * separates them, by maximum flow. Among equally small cuts the latest one wins, so that a
 * layer ends with its last residual addition.
 */
import type { Flow, Vertex } from './flow.ts'
import type { Roles } from './roles.ts'
import { ModelError } from '../onnx/error.ts'

/**
 * What a crossing tensor costs. One that crosses the border before already is a little
 * cheaper: sent straight to a later reader, it need not be turned into another one on the way.
 */
const CROSSING = 1000
const CROSSING_AGAIN = CROSSING - 1
const ENDLESS = 1 << 28
/** Cuts tried for the head; a layer has some hundred nodes. */
const MOST_CANDIDATES = 1000

/** One way to cut: for every stream vertex whether it lies before the border. */
type Side = Uint8Array

/**
 * The segment of every stream vertex: 0 embedding, 1..n layers, n+1 head.
 * @throws ModelError when the layers do not follow one another.
 */
export function assignSegments(flow: Flow, roles: Roles): number[] {
  const anchors = findAnchors(flow, roles)
  const sides: Side[] = []
  for (let border = 0; border < roles.layers; border++) {
    const before =
      border === 0 ? anchors.ids : [...anchors.ids, ...(anchors.layers[border - 1] ?? [])]
    const network = new Network(flow, before, anchors.layers[border] ?? [], sides.at(-1))
    if (network.width >= ENDLESS)
      throw new ModelError(
        `Layer ${border} cannot be separated from the part before it: the caches of the model do not follow one another.`,
      )
    sides.push(network.latest())
  }
  sides.push(lastBorder(flow, roles, anchors, sides))
  const segments = flow.stream.map((_, v) => {
    const index = sides.findIndex((side) => side[v] === 1)
    return index === -1 ? sides.length : index
  })
  keepJoints(flow, segments)
  flow.stream.forEach((vertex, v) => {
    for (const name of vertex.reads) {
      const from = flow.producer.get(name)
      if (from !== undefined && (segments[from] ?? 0) > (segments[v] ?? 0))
        throw new ModelError(`The tensor ${name} would flow backwards between layers.`)
    }
  })
  return segments
}

/** Where a sum may not travel, its addends do: the whole node belongs after the border. */
function keepJoints(flow: Flow, segments: number[]): void {
  flow.stream.forEach(({ node, half }, v) => {
    if (half === 'add' && flow.joints.get(node)?.travels === false)
      segments[v] = segments[v + 1] ?? 0
  })
}

interface Anchors {
  /** Vertices that read token ids: they belong to the embedding. */
  readonly ids: readonly number[]
  /** Vertices that read or give a cache, by layer. */
  readonly layers: readonly (readonly number[])[]
  readonly logits: number
}

function findAnchors(flow: Flow, roles: Roles): Anchors {
  const layers: number[][] = Array.from({ length: roles.layers }, () => [])
  for (const { layer, input, output } of roles.caches) {
    const list = layers[layer]
    const giver = flow.producer.get(output)
    list?.push(...(flow.readers.get(input.name) ?? []))
    if (giver !== undefined) list?.push(giver)
  }
  return {
    ids: flow.readers.get(roles.ids) ?? [],
    layers,
    logits: flow.producer.get(roles.logits) ?? flow.stream.length - 1,
  }
}

/**
 * After the last layer nothing marks where the head begins, and the latest smallest cut would
 * take the final norm along. The cut is chosen that makes the last layer most like the one
 * before it.
 */
function lastBorder(
  flow: Flow,
  roles: Roles,
  anchors: Anchors,
  sides: readonly Side[],
): Side {
  const before = [...anchors.ids, ...(anchors.layers[roles.layers - 1] ?? [])]
  const network = new Network(flow, before, [anchors.logits], sides.at(-1))
  const start = sides[roles.layers - 1]
  const model = sides[roles.layers - 2]
  if (network.width >= ENDLESS || !start)
    throw new ModelError('The logits cannot be separated from the last layer.')
  if (!model) return network.latest()
  const wanted = operators(flow.stream, model, start)
  let best = network.latest()
  let distance = Infinity
  let candidates = MOST_CANDIDATES
  for (const side of network.all()) {
    if (candidates-- === 0) break
    const off = difference(wanted, operators(flow.stream, start, side))
    if (off < distance) [best, distance] = [side, off]
  }
  return best
}

/** How often each operator occurs between two borders. */
function operators(stream: readonly Vertex[], from: Side, to: Side): Map<string, number> {
  const counts = new Map<string, number>()
  stream.forEach(({ node, half }, v) => {
    if (from[v] === 1 || to[v] !== 1) return
    const key = `${node.domain}:${node.opType}:${half}`
    counts.set(key, (counts.get(key) ?? 0) + 1)
  })
  return counts
}

function difference(
  a: ReadonlyMap<string, number>,
  b: ReadonlyMap<string, number>,
): number {
  let sum = 0
  for (const key of new Set([...a.keys(), ...b.keys()]))
    sum += Math.abs((a.get(key) ?? 0) - (b.get(key) ?? 0))
  return sum
}

/**
 * Flow network over vertices and tensors. An arc giver -> tensor counts each
 * crossing tensor once, however many read it; endless arcs reader -> giver keep every cut
 * one-way (a reader before the border pulls its givers before it).
 */
class Network {
  readonly width: number
  private readonly head: number[] = []
  private readonly next: number[] = []
  private readonly to: number[] = []
  private readonly room: number[] = []
  private readonly source: number
  private readonly sink: number

  constructor(
    private readonly flow: Flow,
    before: readonly number[],
    after: readonly number[],
    previous?: Side,
  ) {
    const vertices = flow.stream.length
    const tensors = [...flow.readers.keys()].filter((name) => flow.producer.has(name))
    this.source = vertices + tensors.length
    this.sink = this.source + 1
    this.head = new Array<number>(this.sink + 1).fill(-1)
    tensors.forEach((name, t) => {
      const giver = flow.producer.get(name) ?? 0
      const readers = flow.readers.get(name) ?? []
      const again =
        previous?.[giver] === 1 && readers.some((reader) => previous[reader] === 0)
      this.arc(giver, vertices + t, again ? CROSSING_AGAIN : CROSSING)
      for (const reader of readers) {
        this.arc(vertices + t, reader, ENDLESS)
        this.arc(reader, giver, ENDLESS)
      }
    })
    before.forEach((v) => this.arc(this.source, v, ENDLESS))
    after.forEach((v) => this.arc(v, this.sink, ENDLESS))
    this.width = this.fill()
  }

  /** The smallest cut nearest to the sink. */
  latest(): Side {
    const reaching = this.walk(this.sink, (arc) => this.room[arc ^ 1] ?? 0)
    return this.side((v) => reaching[v] === 0)
  }

  /** All smallest cuts of one chain, from the earliest to the latest. */
  *all(): Generator<Side> {
    const reaching = this.walk(this.sink, (arc) => this.room[arc ^ 1] ?? 0)
    const before = this.walk(this.source, (arc) => this.room[arc] ?? 0)
    yield this.side((v) => before[v] === 1)
    for (let v = 0; v < this.flow.stream.length; v++) {
      if (before[v] === 1 || reaching[v] === 1) continue
      this.walk(v, (arc) => this.room[arc] ?? 0, before)
      yield this.side((u) => before[u] === 1)
    }
  }

  private side(isBefore: (vertex: number) => boolean): Side {
    return Uint8Array.from(this.flow.stream, (_, v) => (isBefore(v) ? 1 : 0))
  }

  private arc(from: number, to: number, room: number): void {
    for (const [a, b, r] of [
      [from, to, room],
      [to, from, 0],
    ] as const) {
      this.to.push(b)
      this.room.push(r)
      this.next.push(this.head[a] ?? -1)
      this.head[a] = this.to.length - 1
    }
  }

  /** Marks everything that can be reached over arcs that `open` finds passable. */
  private walk(
    start: number,
    open: (arc: number) => number,
    seen?: Uint8Array,
  ): Uint8Array {
    const mark = seen ?? new Uint8Array(this.sink + 1)
    const stack = [start]
    mark[start] = 1
    for (let u = stack.pop(); u !== undefined; u = stack.pop())
      for (let arc = this.head[u] ?? -1; arc !== -1; arc = this.next[arc] ?? -1) {
        const v = this.to[arc] ?? 0
        if (mark[v] === 1 || open(arc) <= 0) continue
        mark[v] = 1
        stack.push(v)
      }
    return mark
  }

  /** Maximum flow by shortest augmenting paths (Edmonds and Karp); borders are narrow. */
  private fill(): number {
    let total = 0
    while (total < ENDLESS) {
      const via = new Int32Array(this.sink + 1).fill(-1)
      const queue = [this.source]
      via[this.source] = -2
      for (let i = 0; i < queue.length && via[this.sink] === -1; i++) {
        for (
          let arc = this.head[queue[i] ?? 0] ?? -1;
          arc !== -1;
          arc = this.next[arc] ?? -1
        ) {
          const v = this.to[arc] ?? 0
          if (via[v] !== -1 || (this.room[arc] ?? 0) <= 0) continue
          via[v] = arc
          queue.push(v)
        }
      }
      if (via[this.sink] === -1) return total
      let amount = ENDLESS
      const path: number[] = []
      for (let v = this.sink; v !== this.source; v = this.to[(via[v] ?? 0) ^ 1] ?? 0) {
        const arc = via[v] ?? 0
        path.push(arc)
        amount = Math.min(amount, this.room[arc] ?? 0)
      }
      for (const arc of path) {
        this.room[arc] = (this.room[arc] ?? 0) - amount
        this.room[arc ^ 1] = (this.room[arc ^ 1] ?? 0) + amount
      }
      total += amount
    }
    return total
  }
}
