/** Says things to screen readers without moving the focus. */

const region = document.createElement('div')
// Set here, not in a style sheet: the region lives in many roots.
Object.assign(region.style, {
  position: 'fixed',
  width: '1px',
  height: '1px',
  overflow: 'hidden',
  clipPath: 'inset(50%)',
  whiteSpace: 'nowrap',
})
region.setAttribute('role', 'status')
region.setAttribute('aria-live', 'polite')

/**
 * Everything outside an open modal dialog is silent, so the region moves into it.
 * @param home the dialog, or the body when none is open.
 */
export function announceIn(home: Node): void {
  if (region.parentNode !== home) home.appendChild(region)
}

export function announce(text: string): void {
  if (!region.isConnected) document.body.append(region)
  const line = document.createElement('p')
  line.textContent = text
  region.replaceChildren(line)
}
