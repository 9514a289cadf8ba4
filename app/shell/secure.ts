import { installDefaultPolicy } from './trusted-types.ts'

installDefaultPolicy(globalThis, location.origin)
