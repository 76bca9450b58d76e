"""A room's server: its bucket, its own connection to the keymaster, a listener, and the port where it is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from strongroom.catalog.freshness import catch_up, verify_head, verify_openable
from strongroom.errors import DeniedError, UsageError
from strongroom.keyserver.listen import App
from strongroom.listener.server import Listener
from strongroom.read.session import Session
from strongroom.server.metrics import Metrics, MetricsListener
from strongroom.server.service import Api
from strongroom.store.open import open_store

if TYPE_CHECKING:
    from strongroom.identity.signing import Signed
    from strongroom.keyserver.client import RemoteKeymaster
    from strongroom.listener.address import Listen
    from strongroom.listener.message import Request

LISTEN_DEFAULT = "127.0.0.1:8447"


class _Room(App):
    """The application of one room."""

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self._api = api

    def check(self, request: Request) -> tuple[Any, Signed]:
        """See `App.check`."""
        found = super().check(request)
        if request.old and self._api.streams(request.path):
            raise UsageError("this is answered in chunks", hint="ask over HTTP/1.1; a proxy may have to be told so")
        return found

    def close(self) -> None:
        """See `Application.close`."""
        self._api.close()


class RoomServer:
    """Serves one room; close it with `close` after `run`.

    Args:
        url: The bucket.
        keys: The server's own connection to the keymaster, with the credential of a server; its opener closes it.
        listen: Where.
        metrics_port: On loopback; 0 for one that the system chooses, None for none.
        clock: Seconds since 1970.

    Raises:
        DeniedError: The credential is no server's.
        IntegrityError: The newest snapshot is missing or not the one the keymaster knows.
    """

    def __init__(
        self,
        url: str,
        keys: RemoteKeymaster,
        listen: Listen,
        metrics_port: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        with ExitStack() as opened:
            store = open_store(url, create=False)
            opened.callback(store.close)
            catch_up(store, keys)
            verify_head(store, keys.head())
            verify_openable(keys, url)
            try:
                keys.asking.ask("served.caller", key_id="0" * 32)
            except DeniedError as error:
                raise DeniedError(
                    str(error), rule=error.rule, hint="`strongroom actor add … --server` makes a server's credential"
                ) from None
            metrics = Metrics()
            api = Api(Session(store, keys, keys.actor), keys, clock, metrics)
            self._listener = Listener(_Room(api), listen, looped=True)
            self.metrics_port: int | None = None
            if metrics_port is not None:
                measured = MetricsListener(metrics, metrics_port, keys.head)
                opened.callback(measured.close)
                self.metrics_port = measured.port
            self._opened = opened.pop_all()
        self.port = self._listener.port

    @property
    def started(self) -> bool:
        """Whether it answers."""
        return self._listener.started

    def run(self) -> None:
        """Serve until `stop`, or a signal where this is the main thread."""
        self._listener.run()

    def stop(self) -> None:
        """Tell it to end; what is under way is answered."""
        self._listener.stop()

    def close(self) -> None:
        """Let go of the bucket and the port where it is measured."""
        self._opened.close()
