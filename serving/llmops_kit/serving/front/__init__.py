"""The front of every engine: one ASGI class with the contracts, keys, limits, errors, readiness, log and metrics.

vLLM loads it by `--middleware llmops_kit.serving.front.Front`; the kit's own server constructs it around its own
application.
"""

from llmops_kit.serving.front.front import Front

__all__ = ["Front"]
