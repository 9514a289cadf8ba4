/** An answer as it grows: settled blocks stay in the page, only the last one is redrawn. */
import type { Token } from 'marked'
import { icons } from '../shell/icons.ts'
import { render } from 'lit'
import { COPIED_MS, copyText } from './copy.ts'
import { GrowingText } from './growing-text.ts'
import { blocks, toContent } from './markdown.ts'

export class MarkdownView {
  private readonly growing = new GrowingText<Token>(blocks)
  private readonly settled = document.createElement('div')
  private readonly open = document.createElement('div')

  constructor(home: HTMLElement) {
    home.replaceChildren(this.settled, this.open)
  }

  show(text: string, ended: boolean): void {
    const { restart, settled, open } = this.growing.update(text, ended)
    if (restart) this.settled.replaceChildren()
    if (settled.length > 0) this.settled.append(dressed(toContent([...settled]), true))
    this.open.replaceChildren(dressed(toContent([...open]), false))
  }
}

/** Code gets a bar with its language and a button; wide things can be scrolled by keyboard. */
function dressed(content: DocumentFragment, withCopy: boolean): DocumentFragment {
  for (const pre of content.querySelectorAll('pre')) {
    const language = pre.title
    pre.removeAttribute('title')
    pre.tabIndex = 0
    const figure = document.createElement('div')
    figure.className = 'code'
    const bar = document.createElement('div')
    bar.className = 'bar'
    const name = document.createElement('span')
    name.textContent = language || 'Code'
    bar.append(name)
    if (withCopy) bar.append(copyButton(pre.textContent))
    pre.replaceWith(figure)
    figure.append(bar, pre)
  }
  for (const table of content.querySelectorAll('table')) {
    const scroller = document.createElement('div')
    scroller.className = 'wide'
    scroller.tabIndex = 0
    scroller.setAttribute('role', 'group')
    scroller.setAttribute('aria-label', 'Table')
    table.replaceWith(scroller)
    scroller.append(table)
  }
  return content
}

function copyButton(text: string): HTMLButtonElement {
  const button = document.createElement('button')
  button.type = 'button'
  const draw = (done: boolean): void => {
    button.replaceChildren()
    const icon = document.createElement('span')
    render(done ? icons.check(18) : icons.copy(18), icon)
    button.append(icon, done ? 'Copied' : 'Copy')
  }
  button.addEventListener('click', () => {
    void copyText(text, 'The code').then((copied) => {
      draw(copied)
      setTimeout(() => draw(false), COPIED_MS)
    })
  })
  draw(false)
  return button
}
