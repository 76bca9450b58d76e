"""Opens the store that a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from strongroom.errors import NotFoundError, UsageError
from strongroom.store.base import Store
from strongroom.store.folder import FolderStore
from strongroom.store.memory import MemoryStore

if TYPE_CHECKING:
    from strongroom.store.archive import Archive

SUPPORTED = "a folder's path, file:///path, s3://bucket/prefix, memory://name"
_named: dict[str, MemoryStore] = {}


def open_store(url: str, *, create: bool = True) -> Store:
    """Open the store a URL names.

    Args:
        url: A folder's path or `file:///path` (the folder is made if absent), `s3://bucket/prefix` (the bucket must be
            there), `az://container/prefix`, `gs://bucket/prefix` (both not tested), `memory://` (a new empty store)
            or `memory://name` (the same store for the same name, in this process).
        create: Whether a folder that is absent is made.

    Raises:
        NotFoundError: The folder is absent, and `create` is false; or there is no such bucket.
        DeniedError: The store refuses the credentials.
        UsageError: The URL names a kind of store that is not supported, or holds credentials.
        UnavailableError: The store cannot be opened.
    """
    if not url:
        raise UsageError("no store named", hint=f"Supported: {SUPPORTED}.")
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _folder(url, create=create)
    if scheme == "file":
        parts = urlsplit(url)
        if parts.netloc not in {"", "localhost"} or not parts.path:
            raise UsageError("a file URL names a folder of this machine", hint="Write file:///path/to/folder.")
        return _folder(unquote(parts.path), create=create)
    if scheme == "s3":
        from strongroom.store.s3 import S3Store

        store = S3Store(url)
        store.check_there()
        return store
    if scheme in {"az", "gs"}:
        return _elsewhere(url, scheme)
    if scheme == "memory":
        return _named.setdefault(rest, MemoryStore(url)) if rest else MemoryStore()
    raise UsageError(f"stores of the kind {scheme}:// are not supported", hint=f"Supported: {SUPPORTED}.")


def _elsewhere(url: str, scheme: str) -> Store:
    """Azure and Google: obstore's own settings and variables; not tested against real servers."""
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore, GCSStore

    from strongroom.store.remote import RemoteStore

    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or not parts.netloc:
        hint = "Credentials and options come from the environment."
        raise UsageError(f"write {scheme}://container/prefix", hint=hint)
    try:
        client = (AzureStore if scheme == "az" else GCSStore).from_url(url, retry_config={"max_retries": 0})
    except (BaseError, ValueError) as error:
        raise UsageError(f"the settings for {scheme}:// cannot be used ({type(error).__name__})") from None
    store = RemoteStore(url.rstrip("/"), client, parts.netloc)
    store.check_there()
    return store


def open_archive(url: str) -> Archive:
    """Open a bucket for locked versions.

    Raises:
        UsageError: The URL names a store without object locks, or the bucket has none.
        NotFoundError, DeniedError, UnavailableError: As in `open_store`.
    """
    store = open_store(url, create=False) if url.startswith("s3://") else None
    from strongroom.store.archive import Archive
    from strongroom.store.s3 import S3Store

    if not isinstance(store, S3Store):
        raise UsageError("only S3 buckets have object locks", hint="Write s3://bucket/prefix.")
    archive = Archive(store)
    archive.check_locking()
    return archive


def _folder(path: str, *, create: bool) -> FolderStore:
    if not create and not Path(path).is_dir():
        raise NotFoundError(f"there is no folder {path}", hint="`strongroom create` makes a room")
    return FolderStore(path)


def whole_url(url: str) -> str:
    """A place as it is remembered: a folder by its full path, a URL without a slash at its end."""
    if not url:
        raise UsageError("no store named", hint=f"Supported: {SUPPORTED}.")
    if "://" not in url:
        return str(Path(url).absolute())
    return url if url.endswith("://") else url.rstrip("/")
