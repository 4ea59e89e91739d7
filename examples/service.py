"""For deployments: serve one model from a vault, over HTTP, or refuse to start.

usage: MVAULT_VAULT=… MVAULT_IDENTITY=… MVAULT_TRUST=… python service.py [PORT]

The three variables are all that it needs: no HOME, no writable file system.
MVAULT_AUDIT names a volume for the records of what it loads; they move into
the vault's log when it stops. `store` puts them there at once.
The trust file pins the vault, so a storage that was tampered with, exchanged
or put back to an older state is refused before anything is deserialized.

    curl -d '[[0.1, 2.0, -0.3, 1.0, 0.0, 0.5]]' http://127.0.0.1:8000/
"""

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import vault

REFERENCE = "churn@prod"
MOST_BYTES = 1_000_000


class Handler(BaseHTTPRequestHandler):
    """Answers a JSON list of rows with a JSON list of predictions."""

    model: Any

    def do_POST(self) -> None:
        """Predict."""
        try:
            answer, status = {"predictions": self.model.predict(self.rows()).tolist()}, 200
        except ValueError as error:
            answer, status = {"error": str(error)}, 400
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def rows(self) -> Any:
        """Read the request.

        Raises:
            ValueError: it is not JSON, or too large.
        """
        size = int(self.headers.get("Content-Length", "0"))
        if not 0 < size <= MOST_BYTES:
            raise ValueError(f"a request has 1 to {MOST_BYTES:,} bytes")
        return json.loads(self.rfile.read(size))


def main(port: int) -> int:
    """Load the model that prod uses, then serve it until stopped."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # end as a process does that is done
    try:
        Handler.model = vault.open(env="prod").load_model(REFERENCE)
    except vault.VaultError as error:
        print(f"{REFERENCE} was not loaded [{error.code}]: {error}", file=sys.stderr)
        return error.exit_status
    with HTTPServer(("127.0.0.1", port), Handler) as server:
        print(f"Serving {REFERENCE} on http://127.0.0.1:{server.server_port}/", flush=True)
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000))
