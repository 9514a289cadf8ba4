/** Starts the app. */
import './shell/app.ts'
import { ChoirApp } from './shell/app.ts'
import { installOffer } from './shell/install.ts'
import { fitScreen } from './shell/keyboard.ts'
import { registerShell } from './shell/register-sw.ts'
import { openServices } from './shell/start.ts'
import './styles/tokens.css'

installOffer.listen(window)
fitScreen(window)

let applyUpdate = (): void => location.reload()
addEventListener('choir-apply-update', () => applyUpdate())

const app = document.querySelector('choir-app')
if (app instanceof ChoirApp) app.services = await openServices(new URL(location.href))

await registerShell({
  onUpdate(apply) {
    applyUpdate = apply
    dispatchEvent(new Event('choir-update'))
  },
})
