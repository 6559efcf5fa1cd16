"""Wait until a service says that it is ready: what comes before the load in its pod.

    python -m cellwall_lab.waiting http://FRONTEND:8000/ready

Decides nothing and gives up never: how long a world may take is for whoever waits for the pod. One connection a try, so
that none is kept that was made before the service was there.
"""

from __future__ import annotations

import http.client
import sys
import time
import urllib.request

TRY_EVERY_S = 1.0
TIMEOUT_S = 2.0


def ready(url: str) -> str:
    """Why not, or nothing."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S):
            return ""
    except (OSError, http.client.HTTPException) as error:  # urllib's own errors are among these
        return str(error) or type(error).__name__


def main(argv: list[str]) -> int:
    if len(argv) != 1 or not argv[0].startswith("http://"):
        print("waiting: usage: http://HOST:PORT/PATH", file=sys.stderr)
        return 3
    said = ""
    while reason := ready(argv[0]):
        if reason != said:
            said = reason
            print(f"waiting: {argv[0]}: {reason}", file=sys.stderr, flush=True)
        time.sleep(TRY_EVERY_S)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
