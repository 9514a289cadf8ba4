/** Says things to screen readers without moving the focus. */

const region = document.createElement('div')
region.className = 'announcer'
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
