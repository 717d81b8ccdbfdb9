"""Engines behind one protocol, each in its own process: `process` is the server's side, `worker` the other."""
