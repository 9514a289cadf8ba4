/** A thread that helps with products; see int8-team.ts. */
import { help, type HelperStart } from './int8-team.ts'

self.addEventListener(
  'message',
  ({ data }: MessageEvent<HelperStart>) => {
    void help(data)
  },
  { once: true },
)
