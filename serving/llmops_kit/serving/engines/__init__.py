"""Engines behind one protocol, each in a process of its own: `process` is the server's side, `worker` the other."""
