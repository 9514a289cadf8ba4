/**
 * The height that the on-screen keyboard leaves, as `--height`. Only for browsers that lay
 * the keyboard over the page (iOS); the others resize the page by the viewport's
 * `interactive-widget`.
 */
export function fitScreen(view: Window): void {
  const { visualViewport: viewport } = view
  if (!viewport) return
  const fit = (): void => {
    const covered = view.innerHeight - viewport.height * viewport.scale
    const { style } = view.document.documentElement
    if (covered > 80 && viewport.scale === 1) {
      style.setProperty('--height', `${viewport.height}px`)
      view.scrollTo(0, 0)
    } else style.removeProperty('--height')
  }
  viewport.addEventListener('resize', fit)
}
