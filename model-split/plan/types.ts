/** What the planner is told and what it answers. Times are milliseconds, sizes bytes. */
import type { WeightForm } from '../manifest.ts'

/** How a device keeps quantised weights. */
export type Mode = WeightForm
export const MODES: readonly Mode[] = ['dense', 'lean', 'packed']

/** Speed of a device in one mode, measured. */
export interface ModeSpeed {
  readonly mode: Mode
  /** One token through one layer of average work. */
  readonly msPerLayer: number
  /** The same per token of a prompt, where many rows run at once. */
  readonly msPerLayerPrefill?: number
}

/** A device as measured. */
export interface PlanDevice {
  readonly id: string
  /** A span runs in the fastest of these whose bytes fit the budget. */
  readonly modes: readonly ModeSpeed[]
  /** Embedding, head and sampling of one token; estimated from the work if not given. */
  readonly msStarter?: number
  /** Weights and caches together may take this many bytes. */
  readonly memoryBudget: number
  /** Layers whose weights it has in memory beside those that it runs: they move at once. */
  readonly holds?: readonly number[]
}

/**
 * Links between devices, `[i][j]` from device i to device j in the order of the devices;
 * the diagonal is not read. A frame takes `rttMs / 2 + bytes / bytesPerMs` one way.
 */
export interface PlanLinks {
  /** Infinity where two devices have no link. */
  readonly rttMs: readonly (readonly number[])[]
  readonly bytesPerMs: readonly (readonly number[])[]
}

/** Consecutive layers `[from, to)` on a device. */
export interface Stage {
  readonly device: string
  readonly from: number
  readonly to: number
}

/** A stage that the planner made. */
export interface PlannedStage extends Stage {
  readonly mode: Mode
}

export interface PlanOptions {
  /** `lap`: one sequence, smallest lap. `stage`: several, most tokens per second. */
  readonly load: 'lap' | 'stage'
  /** Rows of cache that every stage must have room for, per sequence. */
  readonly contextTokens: number
  /** Sequences whose caches every stage must have room for. */
  readonly sequences: number
  /**
   * Sequences that are generated at the same time under load `stage`; default `sequences`.
   * Infinity: only the busiest stage or link counts.
   */
  readonly inFlight?: number
  /**
   * Under load `lap`: ids of devices that take part unless each of them makes a lap longer by
   * `WELCOME` of the smallest one, and by more than `WELCOME_MS`.
   */
  readonly welcome?: readonly string[]
  /**
   * Under load `lap`: this share may be given up to make the stage less busy that holds up
   * prompts, of which embedding and head read one row only.
   */
  readonly level?: number
  /** Id of the device that must be the starter. */
  readonly starter?: string
  /** The plan in force, in ring order with the starter first. */
  readonly current?: readonly Stage[]
  /** A new plan must be better than `current` by this share; default `MARGIN`. */
  readonly margin?: number
  /** Plans within this share of the best count as equally good; default `TOLERANCE`. */
  readonly tolerance?: number
}

/**
 * Errors of ±10 % in everything that was measured change the ratio of two plans by 1.1/0.9
 * at most: with this margin they never move a layer of a plan that was the best one.
 */
export const MARGIN = 0.23
/** Share of speed that is given up to move fewer layers. */
export const TOLERANCE = 0.02

/** People come to lend their phones: one is left out only where it costs this share of speed, */
export const WELCOME = 0.5
/** and so much time of a token that readers feel it, ms; round trips of busy pages are long. */
export const WELCOME_MS = 250

export interface LeftOut {
  readonly device: string
  /** One sentence for people; "it" is the device. */
  readonly why: string
}

export interface Plan {
  readonly kind: 'plan'
  /** In ring order, starter first; only the starter may have no layers. */
  readonly stages: readonly PlannedStage[]
  /** `kept`: the current plan, because no other is better by the margin. */
  readonly outcome: 'new' | 'kept'
  /** Predicted time of one token for one sequence. */
  readonly lapMs: number
  /** Predicted time per token of the busiest stage or link. */
  readonly busiestMs: number
  /** What was made small, of this plan: fees for devices that are left out count in. */
  readonly valueMs: number
  /** The same of the current plan as it would be now; null where it cannot go on. */
  readonly currentMs: number | null
  /** Rows of cache per sequence that fit on every stage. */
  readonly contextTokens: number
  readonly leftOut: readonly LeftOut[]
  /** Layers whose device changes against `current`; all without it. */
  readonly movedLayers: number
  /** By how much the search may have missed the best at most, as a share; 0: exact. */
  readonly gap: number
  /** States that were looked at. */
  readonly effort: number
}

/** The devices cannot hold the model. */
export interface Short {
  readonly kind: 'short'
  /** Least total memory that the devices would have to add. */
  readonly missingBytes: number
}
