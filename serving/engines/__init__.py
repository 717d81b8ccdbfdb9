"""Engines behind one protocol, each in a process of its own: `base` the protocol, `process` this side, `worker` that."""
