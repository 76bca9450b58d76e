"""The keymaster of a test's room behind its server, on loopback: what opens the room is connected once for each actor."""

import threading
import time

import strongroom
from strongroom.identity.credential import new_credential
from strongroom.keymaster.wanted import Wanted
from strongroom.keyserver.client import connect
from strongroom.keyserver.serving import Server
from strongroom.listener.address import Listen


class Served:
    """A keymaster, its server in a thread, and a connection for each actor; what a room never asks goes to the keymaster.

    With `alone` one person changes policy and schema, as where keymaster and caller are one process.
    """

    def __init__(self, keymaster, listen=None, authorities=None, *, alone=False):
        self.keymaster = keymaster
        self._server = Server(keymaster, listen or Listen("127.0.0.1", 0))
        if alone:
            changes, own = keymaster.changes, self._server._app.inner._service._own
            own["set_policy"] = lambda _c, args: changes.make(args["actor"], "policy", args["text"])
            own["set_schema"] = lambda _c, args: changes.make(args["actor"], "schema", args["text"])
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        end = time.monotonic() + 20
        while not self._server.started:
            assert self._thread.is_alive()
            assert time.monotonic() < end
            time.sleep(0.005)
        scheme = "http" if listen is None or listen.certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.port}"
        self._authorities = authorities
        self._connections = {}

    def credential(self, actor, by="kit", days=1.0, **limits):
        """A new credential of an actor, known to the keymaster."""
        made = new_credential(self.keymaster.room_id, actor)
        self.keymaster.credentials.add(by, Wanted(actor, made.public_key, days, **limits))
        return made

    def connect(self, credential):
        return connect(self.url, credential=credential, authorities=self._authorities)

    def of(self, actor):
        """The connection of an actor."""
        if actor not in self._connections:
            self._connections[actor] = self.connect(self.credential(actor, server=True))
        return self._connections[actor]

    def __getattr__(self, name):
        return getattr(self.keymaster, name)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()

    def close(self):
        for connection in self._connections.values():
            connection.close()
        self._server.stop()
        self._thread.join(20)
        self.keymaster.close()


def open_served(real=strongroom.open):
    """`strongroom.open` for tests that give it a `Served`: the room gets the connection of its actor."""

    def opened(url, *, keys, actor):
        return real(url, keys=keys.of(actor) if isinstance(keys, Served) and actor else keys, actor=actor)

    return opened
