"""Keeps objects in a store behind a network, through obstore: reads, small writes, lists, removals.

Rules it keeps beside those of `store/base.py`:

1. Synchronous calls only, from any thread: obstore's asynchronous side can abort Python when it ends.
2. Every request may be sent again (`store/trouble.py`): names are never used for other bytes. A create that is refused
   as taken after an attempt whose answer was lost is compared with what is there: the same bytes are a success.
3. Create-only rests on the server's `If-None-Match: *`, in one request with the bytes. A server that ignores it (some
   do, in versioned buckets) lets the later of two creators win: nothing relies on it, since names are random.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from strongroom.errors import (
    ConflictError,
    IntegrityError,
    NotFoundError,
    StrongroomError,
    UnavailableError,
    UsageError,
)
from strongroom.store.base import CountedWriter, Writer, check_name, check_prefix
from strongroom.store.trouble import Patience, attempt

T = TypeVar("T")
Page = list[tuple[str, int]]

PART_BYTES = 8 << 20
"""An object up to this length goes in one request; a longer one in parts of this length."""
LIST_PAGE = 1_000


class RemoteStore:
    """A store behind a network. See the rules above and in `store/base.py`.

    Args:
        url: What it is called.
        client: An obstore store, with the prefix in it, that does not retry by itself; also an attribute.
        bucket: Name of the bucket, for messages.
        patience: Limits of waiting.
    """

    def __init__(self, url: str, client: Any, bucket: str, patience: Patience | None = None) -> None:
        self.url = url
        self.bucket = bucket
        self.patience = patience or Patience()
        self.client = client

    def check_there(self) -> None:
        """Raise NotFoundError, DeniedError or UnavailableError unless the bucket can be listed. One request."""
        from obstore.exceptions import InvalidPathError

        # A name that obstore cannot take is a name nevertheless: the bucket is there.
        with contextlib.suppress(InvalidPathError):
            self.tried("opening of the store", lambda _: next(iter(self._pages("")), None))

    def put(self, name: str, pieces: bytes | Iterable[bytes]) -> None:
        """Create an object, durable when this returns; ConflictError if the name is taken."""
        check_name(name)
        if isinstance(pieces, bytes) and len(pieces) <= PART_BYTES:
            self._create(name, pieces)
            return
        with self.writer(name) as out:
            for piece in (pieces,) if isinstance(pieces, bytes) else pieces:
                out.write(piece)

    def replace(self, name: str, data: bytes) -> None:
        """Create or overwrite a small object in one step, durable when this returns."""
        import obstore

        check_name(name)
        self.tried(
            f"write of object {name}",
            lambda _: obstore.put(self.client, name, bytes(data), mode="overwrite", use_multipart=False),
        )

    @contextlib.contextmanager
    def writer(self, name: str, *, hashed: bool = False) -> Iterator[Writer]:
        """Stream a new object: durable and visible when the block ends, gone when it raises."""
        check_name(name)
        out = RemoteWriter(lambda data: self._create(name, data), lambda: self._large(name), hashed=hashed)
        try:
            yield out
            out.finish()
        except BaseException:
            out.abandon()
            raise

    def get(self, name: str) -> bytes:
        """The whole object; NotFoundError if there is none."""
        import obstore

        check_name(name)
        return self.tried(f"read of object {name}", lambda _: bytes(obstore.get(self.client, name).bytes()))

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """Exactly `length` bytes from `start` of a write-once object; IntegrityError if it has fewer."""
        import obstore

        check_name(name)
        _check_range(start, length)
        if length == 0:
            if self.size(name) < start:
                raise IntegrityError(f"object {name} is shorter than {start} bytes")
            return b""
        data = self.tried(
            f"read of object {name}",
            lambda _: bytes(obstore.get_range(self.client, name, start=start, length=length)),
        )
        if len(data) != length:
            raise IntegrityError(f"object {name} is shorter than {start + length} bytes")
        return data

    def get_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Several ranges of one object, fetched at once; those close together in one request.

        Args:
            name: The object.
            ranges: Pairs of start and length.

        Raises:
            IntegrityError: The object ends before one of them does.
        """
        import obstore

        check_name(name)
        for start, length in ranges:
            _check_range(start, length)
        full = [(start, length) for start, length in ranges if length]
        found = iter(
            self.tried(
                f"read of object {name}",
                lambda _: obstore.get_ranges(
                    self.client, name, starts=[s for s, _ in full], lengths=[n for _, n in full]
                ),
            )
            if full
            else ()
        )
        parts = [bytes(next(found)) if length else b"" for _, length in ranges]
        if any(len(part) != length for part, (_, length) in zip(parts, ranges, strict=True)):
            raise IntegrityError(f"object {name} is shorter than the ranges asked for")
        return parts

    def size(self, name: str) -> int:
        """Length in bytes; NotFoundError if there is none."""
        import obstore

        check_name(name)
        return self.tried(f"object {name}", lambda _: int(obstore.head(self.client, name)["size"]))

    def exists(self, name: str) -> bool:
        """Whether there is such an object now."""
        try:
            self.size(name)
        except NotFoundError:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Names that start with the prefix, each with its length; a page of a thousand at a time."""
        folder = check_prefix(prefix).rpartition("/")[0]
        for found in self._listed(folder):
            for name, size in found:
                if name.startswith(prefix):
                    yield name, size

    def delete(self, name: str) -> None:
        """Remove an object; absent is fine."""
        import obstore

        check_name(name)
        with contextlib.suppress(NotFoundError):
            self.tried(f"removal of object {name}", lambda _: obstore.delete(self.client, name))

    def close(self) -> None:
        """Connections close by themselves when they are idle; the store may be used again."""

    # -- inside ---------------------------------------------------------------------------------
    def tried(self, what: str, call: Callable[[int], T]) -> T:
        """Do something that may be repeated; see `trouble.attempt`."""
        return attempt(what, call, self.patience, bucket=self.bucket)

    def _listed(self, folder: str) -> Iterator[Page]:
        """Names and lengths of everything in a folder, a page at a time, in order."""
        from obstore.exceptions import InvalidPathError

        pages, last = iter(self._pages(folder)), None

        def page(number: int) -> Any:
            nonlocal pages
            if number:  # the stream broke: ask again from the last name on
                pages = iter(self._pages(folder, last))
            return next(pages, None)

        while True:
            try:
                found = self.tried("listing of the store", page)
            except InvalidPathError:
                yield from self._listed_odd(folder, last)
                return
            if found is None:
                return
            last = str(found[-1]["path"])
            yield [(str(item["path"]), int(item["size"])) for item in found]

    def _listed_odd(self, folder: str, after: str | None) -> Iterator[Page]:
        """The rest of a folder in which somebody put names that obstore refuses ("a//b"), after the last it took."""
        del folder, after
        raise UnavailableError("the store holds names that cannot be listed", hint="Remove what is not ours there.")

    def _pages(self, folder: str, after: str | None = None) -> Any:
        import obstore

        return obstore.list(self.client, folder or None, offset=after, chunk_size=LIST_PAGE)

    def _create(self, name: str, data: bytes) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError

        def once(number: int) -> None:
            try:
                obstore.put(self.client, name, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                if number == 0 or self.get(name) != data:
                    raise ConflictError(f"object {name} exists") from None

        self.tried(f"write of object {name}", once)

    def _large(self, name: str) -> LargeWrite:
        """Begin an object that is too long for one request."""
        return _Streamed(self, name)


class LargeWrite(Protocol):
    """Takes the parts of one long object, in order."""

    def part(self, data: bytes) -> None:
        """Send a part, or have it sent."""

    def finish(self) -> None:
        """Make the object visible."""

    def abandon(self) -> None:
        """Leave nothing; raises nothing of a store's."""


class _Streamed:
    """A long object through obstore's own writer, each request once."""

    def __init__(self, store: RemoteStore, name: str) -> None:
        import obstore

        if store.exists(name):
            raise ConflictError(f"object {name} exists")
        self._store = store
        self._what = f"write of object {name}"
        self._out: Any = obstore.open_writer(store.client, name, buffer_size=PART_BYTES, max_concurrency=4)

    def part(self, data: bytes) -> None:
        self._once(lambda _: self._out.write(data))

    def finish(self) -> None:
        self._once(lambda _: self._out.close())

    def abandon(self) -> None:
        # left by an exception, the writer aborts its upload
        with contextlib.suppress(StrongroomError):
            self._once(lambda _: self._out.__exit__(StrongroomError, StrongroomError("abandoned"), None))

    def _once(self, call: Callable[[int], object]) -> None:
        from dataclasses import replace

        attempt(self._what, call, replace(self._store.patience, attempts=1), bucket=self._store.bucket)


class RemoteWriter(CountedWriter):
    """Collects one new object: in memory up to a part's length, then in parts.

    Args:
        short: Creates it from all its bytes.
        large: Begins it in parts.
        hashed: Whether SHA-256 is computed on the way.
    """

    def __init__(
        self, short: Callable[[bytes], None], large: Callable[[], LargeWrite], *, hashed: bool
    ) -> None:
        super().__init__(hashed=hashed)
        self._short = short
        self._begin = large
        self._waiting = bytearray()
        self._large: LargeWrite | None = None

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Append bytes; returns their number."""
        whole = rest = memoryview(data).cast("B")
        while len(rest):
            if len(self._waiting) == PART_BYTES:
                self._send()
            taken = min(PART_BYTES - len(self._waiting), len(rest))
            self._waiting += rest[:taken]
            rest = rest[taken:]
        return self._count(whole)

    def finish(self) -> None:
        """Send what waits, and make the object visible."""
        if self._large is None:
            self._short(bytes(self._waiting))
            return
        self._send()
        self._large.finish()

    def abandon(self) -> None:
        """Leave nothing behind."""
        if self._large is not None:
            self._large.abandon()

    def _send(self) -> None:
        if self._large is None:
            self._large = self._begin()
        self._large.part(bytes(self._waiting))
        self._waiting.clear()


def _check_range(start: int, length: int) -> None:
    if start < 0 or length < 0:
        raise UsageError("a range starts at 0 or later and has no negative length")
