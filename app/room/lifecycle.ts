/** What the page tells of its own life. Each returns a function that stops listening. */
export interface Lifecycle {
  /** The page goes away for good, or is put aside. */
  onHide(listener: () => void): () => void
  /** The page is looked at again, or the network is back. */
  onShow(listener: () => void): () => void
}
