"""A store whose n-th call fails, fails although it worked, or is the last that its process makes.

A real disk or server fails like this only by luck, so the failure is made up; what lies behind it is a real store.
"""

import contextlib
import threading

from strongroom.errors import UnavailableError

MODES = ("fails", "fails but was stored", "process killed")
CALLS = ("put", "replace", "writer", "get", "get_range", "size", "exists", "list", "delete")


class Killed(BaseException):
    """The process is dead: no handler of the product may bring it back to life, so it is no Exception."""


class Fault:
    """The failure to come: at which call, and how. Shared by everything that the killed process would have used."""

    def __init__(self, at: int | None = None, mode: str = MODES[0]) -> None:
        self.at = at
        self.mode = mode
        self.calls: list[tuple[str, str]] = []
        self.fired: tuple[str, str] | None = None
        self.dead = False
        self.lock = threading.Lock()

    def begin(self, call: str, name: str) -> bool:
        """Count a call; raise if it is to fail before it does anything; True if it is to fail after."""
        with self.lock:
            if self.dead:
                raise Killed
            self.calls.append((call, name))
            if len(self.calls) - 1 != self.at:
                return False
            self.fired = (call, name)
            if self.mode == "process killed":
                self.dead = True
                raise Killed
            if self.mode == "fails":
                raise UnavailableError(f"{call} of object {name}: made to fail")
            return True

    def end(self, *, fails: bool, call: str, name: str) -> None:
        """Raise after the call did its work, if it is the one."""
        if fails:
            raise UnavailableError(f"{call} of object {name}: made to fail after it worked")
        if self.dead:
            raise Killed


class FaultyStore:
    """A store with a fault in it."""

    def __init__(self, inner, fault: Fault) -> None:
        self.inner = inner
        self.fault = fault
        self.url = inner.url

    def __getattr__(self, call):
        found = getattr(self.inner, call)
        if call not in CALLS:
            return found

        def faulty(name="", *rest, **named):
            fails = self.fault.begin(call, name)
            result = found(name, *rest, **named)
            if call == "list":
                result = iter(list(result))
            self.fault.end(fails=fails, call=call, name=name)
            return result

        return faulty

    @contextlib.contextmanager
    def writer(self, name, *, hashed=False):
        fails = self.fault.begin("writer", name)
        with self.inner.writer(name, hashed=hashed) as out:
            yield _Writer(out, self.fault)
            if self.fault.dead:
                raise Killed
        self.fault.end(fails=fails, call="writer", name=name)


class _Writer:
    def __init__(self, inner, fault: Fault) -> None:
        self._inner, self._fault = inner, fault

    def write(self, data):
        if self._fault.dead:
            raise Killed
        return self._inner.write(data)

    def __getattr__(self, name):
        return getattr(self._inner, name)


class MortalKeymaster:
    """A keymaster in the process that is killed: it answers nothing afterwards."""

    def __init__(self, inner, fault: Fault) -> None:
        self._inner = inner
        self._fault = fault

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        if name in {"erasures", "tails"}:
            return MortalKeymaster(found, self._fault)
        if not callable(found):
            return found

        def mortal(*given, **named):
            if self._fault.dead:
                raise Killed
            return found(*given, **named)

        return mortal
