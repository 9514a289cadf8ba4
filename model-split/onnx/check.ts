/** What must hold of a model file and its graph before anything is cut. */
import type { ModelSource } from '../source/source.ts'
import { ModelError } from './error.ts'
import type { OnnxGraph, OnnxNode } from './types.ts'

export { ModelError } from './error.ts'

/** @throws ModelError where the file is text that a server or git left in its place. */
export async function checkIsOnnx(
  source: ModelSource,
  path: string,
  size: number,
): Promise<void> {
  const head = await source.read(path, 0, Math.min(size, 1024))
  const text = new TextDecoder().decode(head).trimStart()
  if (text.startsWith('version https://git-lfs.github.com/'))
    throw new ModelError(
      `${path} is not the model but a git-lfs pointer to it; run "git lfs pull" in the model's folder, or download the file itself.`,
    )
  if (/^(<!doctype|<html|<\?xml|<head|<body)/i.test(text))
    throw new ModelError(
      `${path} is a web page, not an ONNX model; check the address and download it again.`,
    )
  if (/^[{[]/.test(text))
    throw new ModelError(
      `${path} is JSON, not an ONNX model; a server may have answered with an error, so download it again.`,
    )
}

/** How a sentence calls a node. */
export function describe(node: OnnxNode): string {
  return `node "${node.name || (node.outputs[0] ?? '')}" (${node.opType})`
}

/**
 * Every tensor is produced exactly once, and none depends on itself.
 * @throws ModelError naming the tensor
 */
export function checkGraph(path: string, graph: OnnxGraph): void {
  const producer = new Map<string, string>()
  const add = (name: string, by: string): void => {
    const other = producer.get(name)
    if (other !== undefined)
      throw new ModelError(
        `The tensor "${name}" in ${path} is produced twice, by ${other} and by ${by}; export the model again.`,
      )
    producer.set(name, by)
  }
  for (const name of graph.initializers.keys()) add(name, 'an initialiser')
  for (const { name } of graph.inputs) add(name, 'an input')
  for (const node of graph.nodes)
    for (const name of node.outputs) if (name !== '') add(name, describe(node))
  const missing = (name: string, reader: string): ModelError =>
    new ModelError(
      `Nothing in ${path} produces the tensor "${name}", which ${reader} needs; export the model again.`,
    )
  for (const node of graph.nodes)
    for (const name of [...node.inputs, ...node.captured])
      if (name !== '' && !producer.has(name)) throw missing(name, describe(node))
  for (const { name } of graph.outputs)
    if (!producer.has(name)) throw missing(name, 'an output of the model')
  topologicalOrder(graph)
}

/**
 * The nodes so that each comes after those whose outputs it reads; file order otherwise.
 * @throws ModelError where the graph has a cycle
 */
export function topologicalOrder(graph: OnnxGraph): OnnxNode[] {
  const { nodes } = graph
  const producer = new Map<string, number>()
  nodes.forEach((node, i) => node.outputs.forEach((name) => producer.set(name, i)))
  producer.delete('')
  const order: OnnxNode[] = []
  const state = new Uint8Array(nodes.length) // 1: on the path, 2: done
  for (let root = 0; root < nodes.length; root++) {
    const path = [root]
    while (path.length > 0) {
      const i = path.at(-1) ?? 0
      const node = nodes[i]
      if (!node || state[i] === 2) {
        path.pop()
        continue
      }
      state[i] = 1
      const before = [...node.inputs, ...node.captured]
        .map((name) => producer.get(name))
        .filter((p) => p !== undefined)
        .filter((p) => state[p] !== 2)
      const loop = before.find((p) => state[p] === 1)
      if (loop !== undefined)
        throw new ModelError(
          `The graph has a cycle: ${describe(node)} depends on its own output; export the model again.`,
        )
      if (before.length === 0) {
        state[i] = 2
        order.push(node)
        path.pop()
      } else path.push(...before.reverse())
    }
  }
  return order
}
