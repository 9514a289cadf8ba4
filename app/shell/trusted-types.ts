/**
 * The page's content security policy lets strings become scripts only through a trusted-types
 * policy. This one is the default: it lets the app start its own workers, and nothing else.
 * It must run before any other module of the page.
 */

interface PolicyFactory {
  createPolicy(name: string, rules: { createScriptURL: (url: string) => string }): unknown
}

export function installDefaultPolicy(scope: object, origin: string): void {
  const factory = (scope as { readonly trustedTypes?: PolicyFactory }).trustedTypes
  factory?.createPolicy('default', {
    createScriptURL: (url) => {
      if (new URL(url, origin).origin === origin) return url
      throw new TypeError(`Choir runs no scripts from elsewhere (${url}).`)
    },
  })
}
