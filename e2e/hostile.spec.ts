/** What strangers and models write must stay text; what opens a room must not lie about. */
import type { DevicePage } from './fixtures/device-page.ts'
import { expect, test } from './fixtures/room.ts'

const ROOM = '/?model=/models/genai-llama-int4-cpu/&engine=wasm&threads=1&phones=1'

const HOSTILE = `# Plan

1. **bold** and *thin*
2. [a page](https://example.org/a?b=1&c=2)
3. [trap](javascript:alert(1)) and [data](data:text/html,<script>alert(1)</script>)

![pixel](https://example.org/pixel.png)

<img src=x onerror="window.hacked = 1"><script>window.hacked = 2</script>
<svg onload="window.hacked = 3"></svg><iframe srcdoc="<script>parent.hacked = 4</script>"></iframe>

<a href="javascript:window.hacked = 5" onclick="window.hacked = 6">click</a>

\`\`\`html
<script>window.hacked = 7</script>
\`\`\`

| a | b |
|---|---|
| <b onmouseover="window.hacked = 8">x</b> | 2 |`

/** Shows a text by the app's own element for answers, under the app's own policies. */
async function showAnswer(device: DevicePage, text: string): Promise<void> {
  await device.page.evaluate(async (answer) => {
    await customElements.whenDefined('choir-message')
    const element = document.createElement('choir-message')
    element.id = 'hostile'
    Object.assign(element, {
      message: { id: 'x', role: 'assistant', text: answer, state: 'done' },
    })
    document.body.append(element)
  }, text)
}

test('hostile markdown is shown, and nothing of it runs or is fetched', async ({
  devices,
}) => {
  const [anna] = await devices.room(['anna'], ROOM)
  await anna!.ready()
  // The first answer brings in the code that shows answers.
  await anna!.page.evaluate(() => window.choir?.setSampling({ maxTokens: 2 }))
  await anna!.askAndRead('Hello?')
  const elsewhere: string[] = []
  anna!.page.on('request', (request) => {
    if (!request.url().startsWith(anna!.origin)) elsewhere.push(request.url())
  })
  await showAnswer(anna!, HOSTILE)
  const prose = anna!.page.locator('#hostile .prose')
  await expect(prose.locator('strong')).toHaveText('bold')
  await expect(prose.locator('ol > li')).toHaveCount(3)
  await expect(prose.locator('pre code')).toHaveText(
    /^<script>window\.hacked = 7<\/script>/,
  )
  await expect(prose.locator('table')).toHaveCount(1)
  const links = await prose
    .locator('a')
    .evaluateAll((anchors) =>
      anchors.map((anchor) => [
        anchor.getAttribute('href'),
        anchor.getAttribute('rel'),
        anchor.getAttribute('target'),
      ]),
    )
  const dress = ['noopener noreferrer nofollow', '_blank']
  expect(links).toEqual([
    ['https://example.org/a?b=1&c=2', ...dress],
    ['https://example.org/pixel.png', ...dress],
  ])
  const foreign =
    'img, script, iframe, style, [onload], [onerror], [onclick], [onmouseover]'
  await expect(prose.locator(foreign)).toHaveCount(0)
  await expect(prose).toContainText('<img src=x onerror=')
  expect(await anna!.page.evaluate(() => 'hacked' in window)).toBe(false)
  expect(elsewhere).toEqual([])
  expect(anna!.errors).toEqual([])
})

test('the policies forbid what got past: strings never become scripts', async ({
  devices,
}) => {
  const anna = await devices.add('anna')
  await anna.open()
  const outcome = await anna.page.evaluate(async () => {
    // What the debugger itself runs may do more than the page's own code.
    await new Promise((resolve) => setTimeout(resolve))
    const attempt = (work: () => unknown): string => {
      try {
        work()
        return 'allowed'
      } catch (error) {
        return error instanceof Error ? error.name : 'refused'
      }
    }
    return {
      html: attempt(() => (document.createElement('div').innerHTML = '<b>x</b>')),
      script: attempt(
        () => (document.createElement('script').src = 'https://example.org/x.js'),
      ),
      code: attempt(() => Reflect.construct(Function, ['return 1'])),
      worker: attempt(() => new Worker('https://example.org/x.js')),
    }
  })
  expect(outcome.html).toBe('TypeError')
  expect(outcome.script).toBe('TypeError')
  expect(outcome.code).toBe('EvalError')
  expect(outcome.worker).toBe('TypeError')
})

test('the secret leaves the address bar, and never reaches a server', async ({
  devices,
}) => {
  const [anna] = await devices.room(['anna'], ROOM)
  await anna!.ready()
  const link = await anna!.link()
  const secret = new URL(link).hash.replace('#room=', '')
  expect(secret.length).toBeGreaterThanOrEqual(22)
  const ben = await devices.add('ben')
  const seen: string[] = []
  ben.page.on('request', (request) =>
    seen.push(request.url() + (request.postData() ?? '')),
  )
  ben.page.on('websocket', (socket) => {
    seen.push(socket.url())
    socket.on('framesent', ({ payload }) => seen.push(payload.toString()))
  })
  await ben.join(link)
  await ben.sees(2)
  for (const device of [anna!, ben]) {
    expect(device.page.url()).not.toContain(secret)
    expect(await device.page.title()).not.toContain(secret)
  }
  expect(seen.length).toBeGreaterThan(5)
  expect(seen.filter((text) => text.includes(secret))).toEqual([])
})

test('window.choir is what the screens have, and ends with the room', async ({
  devices,
}) => {
  const [anna] = await devices.room(['anna'], ROOM)
  await anna!.ready()
  const own = await anna!.page.evaluate(() => Object.keys(window.choir ?? {}))
  expect(own).toEqual([])
  await anna!.page.evaluate(() => window.choir?.leave())
  expect(await anna!.page.evaluate(() => window.choir ?? null)).toBeNull()
})
