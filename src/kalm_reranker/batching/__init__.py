"""Work of many requests through one engine thread: continuous batching that is fair."""
