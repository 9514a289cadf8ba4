/** The app's own room, storage and probe. */
import { transfer, wrap } from 'comlink'
import { browserEffects } from '../room/browser.ts'
import { RoomHook, Witness } from '../room/hook.ts'
import { dealNamed, HandDeal } from '../room/other-deals.ts'
import { startPlanner } from '../room/planner.ts'
import { createRoom, joinByCode, joinByLink } from '../room/rooms.ts'
import { JoinError } from '../room/rendezvous.ts'
import { parseLink } from '../room/secret.ts'
import type { RoomOptions, Session } from '../room/session.ts'
import { shardsOf, stageOf, textOf } from '../room/workers.ts'
import type { ShardsApi } from '../../workers/shards/types.ts'
import type { StageApi } from '../../workers/stage/api.ts'
import type { StageWorkerApi } from '../../workers/stage/stage.worker.ts'
import type { TextApi } from '../../workers/text/types.ts'
import { readChoices, type Choices } from './choices.ts'
import { keptName } from './device-name.ts'
import { Lending } from './lend.ts'
import { keepRuntime } from './register-sw.ts'
import { runtimeFiles } from './runtime-files.ts'
import type { Services } from './services.ts'

declare global {
  interface Window {
    /** The room that this page is in; see room/hook.ts. */
    choir?: RoomHook | undefined
  }
}

/** @param page its search part may choose model, engine, memory and threads. */
export function realServices(page: URL): Services {
  const choices = readChoices(page.searchParams)
  const shards = startShards()
  const lending = new Lending()
  return {
    rooms: {
      create: async () =>
        enter(await roomOptions(choices, shards, lending), (o) => createRoom(o)),
      join: async (link, signal) =>
        enter(await roomOptions(choices, shards, lending), (o) =>
          joinByLink(o, link, signal),
        ),
      rejoin: async (link, signal) => {
        const secret = parseLink(link)
        try {
          const entry = await roomOptions(choices, shards, lending)
          return await enter(entry, (o) => joinByLink(o, link, signal))
        } catch (error) {
          // Nobody is left but this device: the room goes on here.
          const left = error instanceof JoinError && error.nobody && !signal.aborted
          if (!left || !secret) throw error
          return enter(await roomOptions(choices, shards, lending), (o) =>
            createRoom(o, secret),
          )
        }
      },
      knock: async (code, options) =>
        enter(await roomOptions(choices, shards, lending), (o) =>
          joinByCode(o, code, options),
        ),
    },
    preflight: () => lending.look(),
    forgetCrashes: () => lending.forgetCrashes(),
    storage: () => shards.storage(),
    removeModel: (url) => shards.remove(url),
  }
}

function startShards(): ReturnType<typeof wrap<ShardsApi>> {
  return wrap<ShardsApi>(
    new Worker(new URL('../../workers/shards/shards.worker.ts', import.meta.url), {
      type: 'module',
      name: 'shards',
    }),
  )
}

interface Entry {
  readonly options: RoomOptions
  readonly witness: Witness
  readonly hand: HandDeal
  readonly end: () => void
}

/** The workers of one room: they end with it. */
async function roomOptions(
  choices: Choices,
  shards: ReturnType<typeof wrap<ShardsApi>>,
  lending: Lending,
): Promise<Entry> {
  const stageWorker = new Worker(
    new URL('../../workers/stage/stage.worker.ts', import.meta.url),
    { type: 'module', name: 'stage' },
  )
  const textWorker = new Worker(
    new URL('../../workers/text/text.worker.ts', import.meta.url),
    { type: 'module', name: 'text' },
  )
  const stage = wrap<StageWorkerApi>(stageWorker)
  const text = wrap<TextApi>(textWorker)
  const share = (): MessagePort => {
    const { port1, port2 } = new MessageChannel()
    void shards.connect(transfer(port1, [port1]))
    return port2
  }
  const [forStage, forText] = [share(), share()]
  await stage.readShardsFrom(transfer(forStage, [forStage]))
  await text.connect(transfer(forText, [forText]))
  const { memoryBytes, probedBytes } = await lending.look()
  const witness = new Witness()
  const hand = new HandDeal()
  const planner = startPlanner()
  return {
    witness,
    hand,
    end: () => {
      stageWorker.terminate()
      textWorker.terminate()
      planner.end()
    },
    options: {
      ...browserEffects(),
      stage: witness.stage(lending.watch(keepingRuntime(stageOf(stage)))),
      shards: witness.shards(shardsOf(shards)),
      text: textOf(text),
      name: keptName(sessionStorage, navigator.userAgent, Math.random()),
      memoryBudget: choices.memoryBudget ?? memoryBytes,
      memoryProbed: probedBytes,
      notice: lending.takeNotice(),
      engine: choices.engine,
      threads: choices.threads ?? threadsFor(navigator.hardwareConcurrency),
      model: choices.model,
      deal: choices.deal === 'hand' ? hand.deal : dealNamed(choices.deal, planner.deal),
      expected: choices.phones,
    },
  }
}

async function enter(
  { options, witness, hand, end }: Entry,
  open: (options: RoomOptions) => Session | Promise<Session>,
): Promise<Session> {
  try {
    const session = await open(options)
    const leave = session.leave.bind(session)
    const hook = new RoomHook(session, witness, hand)
    session.leave = async () => {
      if (window.choir === hook) window.choir = undefined
      await leave()
      end()
    }
    window.choir = hook
    return session
  } catch (error) {
    end()
    throw error
  }
}

/** Once an engine runs, the one runtime that it uses is kept for offline use. */
function keepingRuntime(stage: StageApi): StageApi {
  return {
    ...stage,
    prepare: async (plan, onProgress, before) => {
      const report = await stage.prepare(plan, onProgress, before)
      const gpu = 'Suspending' in WebAssembly ? 'jspi' : 'asyncify'
      const bundle = report.engine === 'wasm' ? 'wasm' : gpu
      void keepRuntime(runtimeFiles(bundle, location.href)).catch(() => undefined)
      return report
    },
  }
}

/** Half of the cores, at most four: phones slow down with more. */
function threadsFor(cores: number): number {
  return crossOriginIsolated ? Math.max(1, Math.min(4, Math.floor(cores / 2))) : 1
}
