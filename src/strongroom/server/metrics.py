"""What a server counts, for Prometheus, on a loopback port of its own: verbs, statuses, times; nobody and no value."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import make_wsgi_app

from strongroom.errors import StrongroomError, UnavailableError

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)


class Metrics:
    """Counts of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "strongroom_requests", "Requests answered.", ("verb", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "strongroom_request_seconds", "Time to the answer.", ("verb",), registry=self.registry, buckets=_SECONDS
        )

        self._known: dict[tuple[str, int], tuple[Counter, Histogram]] = {}  # verbs and statuses are few

    def answered(self, verb: str, status: int, seconds: float) -> None:
        """Count one answer."""
        known = self._known.get((verb, status))
        if known is None:
            known = (self._requests.labels(verb, str(status)), self._seconds.labels(verb))
            self._known[verb, status] = known
        known[0].inc()
        known[1].observe(max(0.0, seconds))


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_args: Any) -> None:
        """Nothing: scrapes are no news."""


class MetricsListener:
    """Serves `/metrics` and `/healthz` on loopback.

    Args:
        metrics: What is told.
        port: Where; 0 for one that the system chooses.
        healthy: Raises StrongroomError when the server cannot answer its callers.
    """

    def __init__(self, metrics: Metrics, port: int, healthy: Callable[[], object]) -> None:
        told = make_wsgi_app(metrics.registry)

        def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            path = environ.get("PATH_INFO")
            if path == "/metrics":
                return cast("Iterable[bytes]", told(environ, start))
            status, body = "404 Not Found", b"there is /metrics and /healthz\n"
            if path == "/healthz":
                try:
                    healthy()
                    status, body = "200 OK", b"ok\n"
                except StrongroomError as error:
                    status, body = "503 Service Unavailable", f"{type(error).__name__}\n".encode()
            start(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
            return [body]

        try:
            self._server = make_server("127.0.0.1", port, app, handler_class=_Quiet)
        except OSError as error:
            raise UnavailableError(
                f"cannot listen on 127.0.0.1, port {port} ({type(error).__name__})", hint="--metrics-port another"
            ) from None
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="strongroom-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
