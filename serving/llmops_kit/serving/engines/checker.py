"""Checks the JSON schemas of requests and compiles their grammars: `python -m llmops_kit.serving.engines.checker`.

A caller controls how long a schema's check takes, and a thread of the server that checks it could not be ended.
openvino-genai accepts a request whose grammar xgrammar can't compile, and then every step of the pipeline raises; a
grammar that compiles slowly delays all answers. So both are tried first in this process, which has limits of processor
time and memory (`llmops_kit.serving.front.schema_checks` is the server's side): only it waits, fails or is ended.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from llmops_kit.core.engines.records import ENGINES, EngineName
from llmops_kit.core.json_schema.checks import check_schema
from llmops_kit.serving.engines.engine import MAX_GRAMMAR_BYTES, Grammar

_ENGINES = "llmops_kit.serving.engines"
_CPU_SECONDS = 1
"""CPU time, over all processors, that a check may take. The engine then needs as long again for a grammar."""
_MEMORY = 512 << 20
"""Bytes that a check may take beyond the process's memory before it."""
_KEPT = 256 << 20
"""Bytes that all checks together may leave behind; then another process takes over."""


class GrammarTrial(Protocol):
    """An engine's compiler of grammars, for the vocabulary with which it was constructed."""

    def compile(self, grammar: Grammar) -> int:
        """Compiles a grammar as the engine does; returns the bytes of its compiled form.

        Raises:
            Exception: the library's own, the grammar can't be used.
        """
        ...


def new_trial(engine: str, tokens: Sequence[bytes]) -> GrammarTrial:
    """Returns an engine's compiler.

    Args:
        tokens: the bytes of each token; empty for special ones.
    """
    module, _, name = ENGINES[cast(EngineName, engine)].grammars.partition(":")
    return cast(GrammarTrial, getattr(import_module(f"{_ENGINES}.{module}"), name)(tokens))


def main() -> None:
    """Answers each line until the input ends.

    | line | answer |
    |---|---|
    | `{"schemas": {place: schema, …}}` | `[place, fault, retire]` of the first invalid one; fault "": all are valid |
    | `{"engine": name, "vocabulary": [token as Latin-1, …]}`, before the first grammar | `["", "", false]` |
    | `{"grammar": …}` | `["", fault, retire]` |

    With `retire` true the process has grown, and another one should take over.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the server ends this process
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the libraries print to it
    trial: GrammarTrial | None = None
    check_schema({"pattern": "a"})  # loads the libraries
    held = _held()
    for line in sys.stdin:
        order = json.loads(line)
        place = fault = ""
        if "vocabulary" in order:
            _limit(resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            trial = new_trial(order["engine"], [token.encode("latin-1") for token in order["vocabulary"]])
            held = _held()
        else:
            used = resource.getrusage(resource.RUSAGE_SELF)
            _limit(int(used.ru_utime + used.ru_stime) + 1 + _CPU_SECONDS, _held() + _MEMORY)
            if "schemas" in order:
                place, fault = _fault_of_schemas(order["schemas"])
            else:
                assert trial
                fault = _fault_of_grammar(trial, Grammar.of_dict(order["grammar"]))
        print(json.dumps([place, fault, _held() - held > _KEPT]), file=out, flush=True)


def _limit(cpu_seconds: int, memory: int) -> None:
    """Limits the process's CPU time and memory, beyond which SIGXCPU or a MemoryError ends it."""
    for kind, limit in ((resource.RLIMIT_CPU, cpu_seconds), (resource.RLIMIT_DATA, memory)):
        hard = resource.getrlimit(kind)[1]
        allowed = [each for each in (limit, hard) if each != resource.RLIM_INFINITY]
        resource.setrlimit(kind, (min(allowed, default=resource.RLIM_INFINITY), hard))


def _held() -> int:
    """Returns the bytes that RLIMIT_DATA counts."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()


def _fault_of_schemas(schemas: dict[str, Any]) -> tuple[str, str]:
    for place, schema in schemas.items():
        try:
            check_schema(schema)
        except (ValueError, RecursionError) as e:
            return place, str(e)
    return "", ""


def _fault_of_grammar(trial: GrammarTrial, grammar: Grammar) -> str:
    """Returns why a grammar can't be used, without the library's source locations; empty if it can."""
    try:
        size = trial.compile(grammar)
    except MemoryError:
        raise
    except Exception as e:  # whatever the library raises
        reason = " ".join(str(e).split())
        return reason.rpartition(".cc:")[2].partition(": ")[2][:300] or reason[-300:] or type(e).__name__
    if size > MAX_GRAMMAR_BYTES:
        return f"its compiled grammar exceeds the limit grammar_bytes of {MAX_GRAMMAR_BYTES:,}"
    return ""


if __name__ == "__main__":
    try:
        main()
    except MemoryError:
        os._exit(1)  # without a traceback: a request caused it, and gets the error
