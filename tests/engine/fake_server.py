"""Stands in for vLLM's server: answers /health, has an inner process, and can be made to hang or to fail.

``python fake_server.py PORT FOLDER [fail]``: writes the ids of both its processes to FOLDER/pids, and stops
answering while FOLDER/hang exists.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, FOLDER = int(sys.argv[1]), Path(sys.argv[2])


class Health(BaseHTTPRequestHandler):
    """200 to everything, but for a server that hangs."""

    def do_GET(self) -> None:
        while (FOLDER / "hang").exists():
            time.sleep(0.05)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


if "fail" in sys.argv:
    sys.exit(
        "(Worker pid=1) ERROR 11-23 21:37:42 [executor.py:953] ValueError: the model has no weights\n"
        "RuntimeError: Engine core initialization failed. See root cause above."
    )
# Like vLLM's inner processes, it does not notice the death of its parent.
inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(FOLDER / "pids.new").write_text(f"{os.getpid()} {inner.pid}")
(FOLDER / "pids.new").replace(FOLDER / "pids")
sys.stdout.write("Starting to load model\n")
sys.stdout.flush()
time.sleep(0.3)
ThreadingHTTPServer(("127.0.0.1", PORT), Health).serve_forever()
