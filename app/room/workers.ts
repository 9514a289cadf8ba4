/** The workers as the session calls them: callbacks and channels are passed on rightly. */
import { proxy, transfer, type Remote } from 'comlink'
import type { ShardsApi } from '../../workers/shards/types.ts'
import type { StageApi } from '../../workers/stage/api.ts'
import type { TextApi } from '../../workers/text/types.ts'

/** Calls are posted in the calling task, as the transfer of a data channel demands. */
export function stageOf(remote: Remote<StageApi>): StageApi {
  return {
    open: (options) => remote.open(options),
    setMemoryBudget: (bytes) => remote.setMemoryBudget(bytes),
    setStepTimes: (times) => remote.setStepTimes(times),
    prepare: (plan, onProgress, before) =>
      remote.prepare(plan, proxy(onProgress), before),
    copied: (epoch) => remote.copied(epoch),
    activate: (epoch) => remote.activate(epoch),
    hold: (layers) => remote.hold(layers),
    connect: (device, link) => remote.connect(device, transfer(link, [link])),
    connectSpare: (device, link) => remote.connectSpare(device, transfer(link, [link])),
    disconnect: (device) => remote.disconnect(device),
    ask: (ask, onEvent) => remote.ask(ask, proxy(onEvent)),
    stop: (sequence) => remote.stop(sequence),
    forget: (sequence) => remote.forget(sequence),
    onStats: (listener) => remote.onStats(proxy(listener)),
    close: () => remote.close(),
  }
}

/** What of the shards worker the room uses. */
export type RoomShards = Pick<
  ShardsApi,
  'open' | 'fetch' | 'cancel' | 'has' | 'get' | 'put'
>

export function shardsOf(remote: Remote<ShardsApi>): RoomShards {
  return {
    open: (url) => remote.open(url),
    fetch: (job, onProgress) => remote.fetch(job, proxy(onProgress)),
    cancel: (id) => void remote.cancel(id),
    has: (shards) => remote.has(shards),
    get: (sha256) => remote.get(sha256),
    put: (sha256, bytes) => remote.put(sha256, bytes),
  }
}

/** What of the text worker the room uses. */
export type RoomText = Pick<TextApi, 'open' | 'encode' | 'push' | 'finish'>

export function textOf(remote: Remote<TextApi>): RoomText {
  return {
    open: (url) => remote.open(url),
    encode: (messages) => remote.encode(messages),
    push: (stream, ids) => remote.push(stream, ids),
    finish: (stream) => remote.finish(stream),
  }
}
