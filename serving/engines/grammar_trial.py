"""Compiles grammars before the engine gets them: `python -m serving.engines.grammar_trial ENGINE`.

A grammar that xgrammar can't compile is accepted by openvino-genai with a request, and then makes every step of the
pipeline raise; one that takes long delays all answers. So each is compiled in this process beforehand
(`serving.grammars` is the server's side): only it waits, fails or runs out of memory.
"""

import json
import os
import resource
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from serving.engines.engine import Grammar

_CPU_SECONDS = 1
"""CPU time, over all processors, that a grammar may take. The engine takes as long again."""
_MEMORY = 2 << 30
_TRIALS = {
    "openvino": ("serving.engines.openvino_grammars", "OpenVinoTrial"),
    "transformers": ("serving.engines.transformers_grammars", "GrammarMasks"),
}


class GrammarTrial(Protocol):
    """An engine's compiler of grammars, for the vocabulary with which it was constructed."""

    def compile(self, grammar: Grammar) -> object:
        """Compiles a grammar as the engine does.

        Raises:
            Exception: the library's own, the grammar can't be used.
        """
        ...


def new_trial(engine: str, tokens: Sequence[bytes]) -> GrammarTrial:
    """Returns an engine's compiler.

    Args:
        tokens: the bytes of each token; empty for special ones.
    """
    module, name = _TRIALS[engine]
    return cast(GrammarTrial, getattr(import_module(module), name)(tokens))


def main(engine: str) -> None:
    """Answers each line with a grammar by a line with its fault. The first line is the vocabulary, as Latin-1."""
    tokens = [token.encode("latin-1") for token in json.loads(sys.stdin.readline())]
    trial = new_trial(engine, tokens)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the library prints to it
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    print(json.dumps("ready"), file=out, flush=True)
    for line in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + 1 + _CPU_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))  # SIGXCPU ends the process
        print(json.dumps(_fault(trial, Grammar.of_dict(json.loads(line)))), file=out, flush=True)


def _fault(trial: GrammarTrial, grammar: Grammar) -> str:
    """Returns why a grammar can't be used, without the library's source locations; empty if it can."""
    try:
        trial.compile(grammar)
    except Exception as e:  # whatever the library raises
        reason = " ".join(str(e).split())
        return reason.rpartition(".cc:")[2].partition(": ")[2][:300] or reason[-300:] or type(e).__name__
    return ""


if __name__ == "__main__":
    main(sys.argv[1])
