"""Extends an activate script, so that it also selects the engine and the local backend.

After `. .venv/bin/activate`, plain `pulumi` works on the checkout's local stacks. An environment that already names a
backend is not changed, and `deactivate` reverts the changes. For sh, bash and zsh; a second run replaces the lines.
"""

import re
import shlex
from pathlib import Path

_BEGIN, _END = "# >>> llmops-kit", "# <<< llmops-kit"
_DEACTIVATE = "deactivate () {\n"

# zsh does not split unquoted variables, hence no loop over the names.
_UNSET = """\
    if [ -n "${_LLMOPS_BACKEND:-}" ] ; then unset PULUMI_BACKEND_URL _LLMOPS_BACKEND ; fi
    if [ -n "${_LLMOPS_PASSPHRASE:-}" ] ; then unset PULUMI_CONFIG_PASSPHRASE _LLMOPS_PASSPHRASE ; fi
    if [ -n "${_LLMOPS_UPDATE_CHECK:-}" ] ; then unset PULUMI_SKIP_UPDATE_CHECK _LLMOPS_UPDATE_CHECK ; fi
"""

# PATH needs no restoring: the script saved it before its own change.
_ENGINE = """\
if [ -d {folder} ] ; then
    PATH={folder}:"$PATH"
    export PATH
    if [ -z "${{PULUMI_SKIP_UPDATE_CHECK+_}}" ] ; then
        PULUMI_SKIP_UPDATE_CHECK=1
        _LLMOPS_UPDATE_CHECK=1
        export PULUMI_SKIP_UPDATE_CHECK
    fi
    hash -r 2>/dev/null || true
fi
"""

_BACKEND = """\
if [ -z "${PULUMI_BACKEND_URL:-}${PULUMI_ACCESS_TOKEN:-}" ] && [ -d "${VIRTUAL_ENV%/*}/.llmops/state" ] ; then
    PULUMI_BACKEND_URL="file://${VIRTUAL_ENV%/*}/.llmops/state?metadata=skip"
    _LLMOPS_BACKEND=1
    export PULUMI_BACKEND_URL
    if [ -z "${PULUMI_CONFIG_PASSPHRASE+_}${PULUMI_CONFIG_PASSPHRASE_FILE+_}" ] ; then
        PULUMI_CONFIG_PASSPHRASE=
        _LLMOPS_PASSPHRASE=1
        export PULUMI_CONFIG_PASSPHRASE
    fi
fi
"""


def extend(script: str, engine_folder: str) -> str:
    """Returns the activate script with the kit's lines; `engine_folder` is empty if PATH has the user's own engine."""
    plain = re.sub(rf"{_BEGIN}\n.*?{_END}\n", "", script, flags=re.DOTALL)
    if _DEACTIVATE not in plain:
        raise ValueError("not an activate script of venv or uv: it defines no deactivate()")
    plain = plain.replace(_DEACTIVATE, _DEACTIVATE + _marked(_UNSET), 1)
    engine = _ENGINE.format(folder=shlex.quote(engine_folder)) if engine_folder else ""
    return plain.rstrip("\n") + "\n" + _marked(engine + _BACKEND)


def _marked(lines: str) -> str:
    return f"{_BEGIN}\n{lines}{_END}\n"


def activate(script: Path, engine_folder: str) -> None:
    """Rewrites an activate script by `extend`, if that changes it."""
    old = script.read_text()
    new = extend(old, engine_folder)
    if new != old:
        script.write_text(new)
