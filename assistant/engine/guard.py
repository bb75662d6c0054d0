"""Runs one command and sees to it that none of its processes outlives whoever started this guard.

``python guard.py SECONDS COMMAND...``, at the head of a process group of its own, with a pipe as standard input that
its starter holds open. When the pipe closes, because the starter wishes it or has died by whatever means, the command
is asked to end, and after SECONDS made to. When the command ends, so does every process it left in the group:
vLLM's inner processes do not notice the death of their server.

Imports nothing but the standard library, so that it is up at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence


def main(seconds: float, command: Sequence[str]) -> None:
    """Runs ``command`` to its end; ends by killing the group, itself included."""
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.exit(f"Could not start {command[0]}: {error}")
    for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(asked, lambda *_: child.terminate())
    threading.Thread(target=_end_with_starter, args=(child, seconds), daemon=True).start()
    code = child.wait()
    sys.stderr.write(f"The engine's process ended with exit code {code}.\n")
    sys.stderr.flush()
    os.killpg(0, signal.SIGKILL)


def _end_with_starter(child: subprocess.Popen[bytes], seconds: float) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    child.terminate()
    threading.Event().wait(seconds)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
