"""A test's room behind its server, with the keymaster behind its own, both on loopback."""

import threading
import time

from served_room import Served

from strongroom.listener.address import Listen
from strongroom.server.client import RoomClient
from strongroom.server.serving import RoomServer


class Api:
    """The two servers of a room, and clients of the second."""

    def __init__(self, room, listen=None, authorities=None):
        self.keys = Served(room.keymaster())
        self.own = self.keys.connect(self.keys.credential("front", server=True))
        self.server = RoomServer(str(room.bucket), self.own, listen or Listen("127.0.0.1", 0), 0)
        self._thread = threading.Thread(target=self.server.run, daemon=True)
        self._thread.start()
        end = time.monotonic() + 20
        while not self.server.started:
            assert self._thread.is_alive()
            assert time.monotonic() < end
            time.sleep(0.005)
        self.url = f"{'http' if listen is None else 'https'}://127.0.0.1:{self.server.port}"
        self.bucket = room.bucket
        self._authorities = authorities
        self._clients = {}

    @property
    def exports(self):
        """The exports that the server makes."""
        return self.server._listener._app._service._exports

    def client(self, credential):
        return RoomClient(self.url, credential, self._authorities)

    def of(self, actor, **limits):
        """A client of an actor, connected once."""
        if actor not in self._clients:
            self._clients[actor] = self.client(self.keys.credential(actor, **limits))
        return self._clients[actor]

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()

    def close(self):
        for client in self._clients.values():
            client.close()
        self.server.stop()
        self._thread.join(20)
        self.server.close()
        self.own.close()
        self.keys.close()
