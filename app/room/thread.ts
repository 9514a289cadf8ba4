/**
 * A chat as a tree of messages: asking anew or changing a question opens another branch, and
 * what was there stays. One path from the first message to a leaf is shown. Immutable.
 */
import type { Message } from './types.ts'

export interface ThreadNode {
  readonly message: Message
  /** Id of the message before it; null for the first one. */
  readonly parent: string | null
}

export class Thread {
  static readonly EMPTY = new Thread(new Map(), null)
  #path: readonly Message[] | null = null

  private constructor(
    /** In the order in which they were written. */
    readonly nodes: ReadonlyMap<string, ThreadNode>,
    /** The last message that is shown. */
    readonly leaf: string | null,
  ) {}

  /** Nodes whose parent is missing or comes later are left out. */
  static of(nodes: readonly ThreadNode[], leaf: string | null): Thread {
    let thread = Thread.EMPTY
    for (const { message, parent } of nodes)
      if (parent === null || thread.nodes.has(parent))
        thread = thread.add(message, parent)
    return leaf !== null && thread.nodes.has(leaf)
      ? new Thread(thread.nodes, leaf)
      : thread
  }

  /** What is shown, first message first. */
  get path(): readonly Message[] {
    if (this.#path) return this.#path
    const path: Message[] = []
    for (let id = this.leaf; id !== null;) {
      const node: ThreadNode | undefined = this.nodes.get(id)
      if (!node) break
      path.push(node.message)
      id = node.parent
    }
    return (this.#path = path.reverse())
  }

  parentOf(id: string): string | null {
    return this.nodes.get(id)?.parent ?? null
  }

  /** Adds a message behind `parent`, by default behind all that is shown, and shows it. */
  add(message: Message, parent: string | null = this.leaf): Thread {
    const nodes = new Map(this.nodes).set(message.id, { message, parent })
    const versions = [...nodes].flatMap(([id, node]) =>
      node.parent === parent && node.message.role === message.role ? [id] : [],
    )
    if (versions.length > 1) for (const id of versions) patch(nodes, id, { versions })
    return new Thread(nodes, message.id)
  }

  change(id: string, change: Partial<Message>): Thread {
    if (!this.nodes.has(id)) return this
    const nodes = new Map(this.nodes)
    patch(nodes, id, change)
    return new Thread(nodes, this.leaf)
  }

  /** Shows the branch through `id`, on to the newest message behind it. */
  choose(id: string): Thread {
    if (!this.nodes.has(id)) return this
    const newest = new Map<string, string>()
    for (const [child, { parent }] of this.nodes)
      if (parent !== null) newest.set(parent, child)
    let leaf = id
    for (let next = newest.get(leaf); next !== undefined; next = newest.get(leaf))
      leaf = next
    return new Thread(this.nodes, leaf)
  }
}

function patch(
  nodes: Map<string, ThreadNode>,
  id: string,
  change: Partial<Message>,
): void {
  const node = nodes.get(id)
  if (node) nodes.set(id, { ...node, message: { ...node.message, ...change } })
}
