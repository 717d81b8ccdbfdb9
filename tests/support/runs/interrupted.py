"""Runs a program that sends itself a signal as soon as it has printed a line that begins so.

python -m tests.support.runs.interrupted BEGINNING SIGNAL MODULE [ARGUMENT …]

A test that reads the lines and sends the signal comes late on a busy machine: the program may have ended by then.
"""

import os
import runpy
import sys


def main(beginning: str, number: str, module: str, *arguments: str) -> None:
    """Runs the module as `python -m` does."""
    write = sys.stdout.write

    def write_and_signal(text: str) -> int:
        count = write(text)
        if text.startswith(beginning):
            sys.stdout.flush()
            os.kill(os.getpid(), int(number))
        return count

    sys.stdout.write = write_and_signal
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
