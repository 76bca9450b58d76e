"""Keeps objects in a bucket of an S3 server: obstore for what must be fast, botocore for parts, versions and locks.

Rules it keeps beside those of `store/remote.py`:

1. Credentials come from the usual AWS chain (variables, profiles, SSO, container, instance) and never from the URL.
   Address, region and style come from the AWS_* variables.
2. A long object goes up in parts, several at once; leaving the writer by an exception aborts the upload.
3. Memory of a writer is (PARTS_AT_ONCE + 2) parts, whatever the object's length.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from strongroom.errors import ConflictError, NotFoundError, StrongroomError, UsageError
from strongroom.store.base import check_prefix
from strongroom.store.remote import LargeWrite, Page, RemoteStore
from strongroom.store.trouble import REQUEST_SECONDS_MAX, Patience
from strongroom.webaddress import LOOPBACK

if TYPE_CHECKING:
    from obstore.store import S3Credential

PARTS_AT_ONCE = 3
PARTS_MAX = 10_000
"""An S3 upload has at most so many parts: with PART_BYTES, an object has at most 80 GB."""
CREDENTIAL_SECONDS = 240
"""How long obstore may use credentials before it asks for them again."""
DEFAULT_REGION = "us-east-1"
_TRUE = {"1", "true", "yes", "on"}


@dataclass(frozen=True)
class Place:
    """Where a bucket is.

    Attributes:
        bucket: Its name.
        prefix: What names in it start with, without a slash at the end; may be empty.
        endpoint: Address of the server; None for AWS itself.
        region: Name of the region; None if nothing says it.
        allow_http: Whether the address may be http.
        path_style: Whether the bucket's name goes into the path and not into the host's name.
    """

    bucket: str
    prefix: str
    endpoint: str | None
    region: str | None
    allow_http: bool
    path_style: bool


def parse_place(url: str, environment: Mapping[str, str] | None = None) -> Place:
    """Read `s3://bucket/prefix` and the AWS_* variables.

    Raises:
        UsageError: The URL is not one, holds credentials or options, or the address is http without being allowed.
    """
    given = os.environ if environment is None else environment
    parts = urlsplit(url)
    if "@" in parts.netloc:
        hint = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        raise UsageError("a store's URL holds no credentials", hint=hint)
    if parts.query or parts.fragment or ":" in parts.netloc:
        raise UsageError("an S3 URL is s3://bucket/prefix", hint="Options come from the AWS_* variables.")
    if not 3 <= len(parts.netloc) <= 63:
        raise UsageError("a bucket's name has 3 to 63 characters", hint="Write s3://bucket or s3://bucket/prefix.")
    prefix = check_prefix(parts.path.strip("/"))
    endpoint = given.get("AWS_ENDPOINT_URL_S3") or given.get("AWS_ENDPOINT_URL") or given.get("AWS_ENDPOINT") or None
    local = endpoint is not None and urlsplit(endpoint).hostname in LOOPBACK
    allowed = local or given.get("AWS_ALLOW_HTTP", "").lower() in _TRUE
    if endpoint is not None and urlsplit(endpoint).scheme not in ({"http", "https"} if allowed else {"https"}):
        raise UsageError("the store's address is not https", hint="Set AWS_ALLOW_HTTP=true to allow http.")
    virtual = given.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() in _TRUE
    region = given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION") or None
    return Place(parts.netloc, prefix, endpoint, region, allowed, endpoint is not None and not virtual)


class Credentials:
    """Keys from the usual AWS chain, looked up when first needed and renewed when they run out.

    Raises:
        UsageError: There are none anywhere, or the profile that is named does not exist.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._source: Any = None
        self.region: str | None = None
        self._fixed: tuple[str, str, str | None] | None = None
        access, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
        if access and secret:
            # botocore takes a third of a second to import, and the chain would end here as well
            self._fixed = access, secret, os.environ.get("AWS_SESSION_TOKEN")
            return
        import botocore.exceptions
        import botocore.session

        session = botocore.session.Session()
        try:
            self._source = session.get_credentials()
            self.region = session.get_config_variable("region")
        except botocore.exceptions.BotoCoreError as error:
            kind = type(error).__name__
            message = f"the AWS settings of this machine cannot be used ({kind})"
            raise UsageError(message, hint="Check AWS_PROFILE.") from None
        if self._source is None:
            hint = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run `aws sso login`."
            raise UsageError("there are no AWS credentials for the store", hint=hint)

    def current(self) -> tuple[str, str, str | None]:
        """Access key, secret key and session token."""
        if self._fixed is not None:
            return self._fixed
        frozen = self._source.get_frozen_credentials()
        return frozen.access_key, frozen.secret_key, frozen.token

    def __call__(self) -> S3Credential:
        """The same in the form that obstore asks for."""
        access, secret, token = self.current()
        until = datetime.fromtimestamp(self._clock() + CREDENTIAL_SECONDS, UTC)
        return {"access_key_id": access, "secret_access_key": secret, "token": token, "expires_at": until}


    def session(self) -> Any:
        """A botocore session with the same credentials, which it renews by itself."""
        import botocore.session

        session = botocore.session.Session()
        if self._fixed is not None:
            session.set_credentials(*self._fixed)
        else:
            session._credentials = self._source  # noqa: SLF001 - botocore has no public way to share a chain's result
        return session


class S3Store(RemoteStore):
    """A store in an S3 bucket, under a prefix. See the rules above.

    Args:
        url: `s3://bucket/prefix`.
        patience: Limits of waiting.

    Raises:
        UsageError: The URL or the AWS settings cannot be used.
    """

    def __init__(self, url: str, patience: Patience | None = None) -> None:
        from obstore.store import S3Store as Client

        place = parse_place(url)
        patience = patience or Patience()
        credentials = Credentials()
        region = place.region or credentials.region or DEFAULT_REGION
        options: dict[str, Any] = {"endpoint": place.endpoint} if place.endpoint else {}
        client = Client(
            place.bucket,
            prefix=place.prefix or None,
            region=region,
            virtual_hosted_style_request=not place.path_style,
            disable_bulk_delete=True,
            credential_provider=credentials,
            client_options={
                "allow_http": place.allow_http,
                "connect_timeout": timedelta(seconds=patience.connect_seconds),
                "read_timeout": timedelta(seconds=patience.idle_seconds),
                "timeout": timedelta(seconds=REQUEST_SECONDS_MAX),
            },
            retry_config={"max_retries": 0},
            **options,
        )
        super().__init__(url.rstrip("/"), client, place.bucket, patience)
        self.place = place
        self._credentials = credentials
        self._region = region
        self._lock = threading.Lock()
        self._core: Any = None
        self._pool: ThreadPoolExecutor | None = None

    def key(self, name: str) -> str:
        """The whole key of an object in the bucket."""
        return f"{self.place.prefix}/{name}" if self.place.prefix else name

    def core(self) -> Any:
        """A botocore client for what obstore does not do; made once, usable from any thread."""
        with self._lock:
            if self._core is None:
                self._core = self._new_core()
            return self._core

    def close(self) -> None:
        """Let go of connections and threads; the store may be used again."""
        with self._lock:
            core, self._core = self._core, None
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()
        if core is not None:
            core.close()

    def pool(self) -> ThreadPoolExecutor:
        """Threads that send parts."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(2 * PARTS_AT_ONCE, thread_name_prefix="strongroom-s3")
            return self._pool

    # -- inside ---------------------------------------------------------------------------------
    def _new_core(self) -> Any:
        from botocore.config import Config

        return self._credentials.session().create_client(
            "s3",
            region_name=self._region,
            endpoint_url=self.place.endpoint,
            config=Config(
                s3={"addressing_style": "path" if self.place.path_style else "virtual"},
                retries={"total_max_attempts": 1},
                connect_timeout=self.patience.connect_seconds,
                read_timeout=self.patience.idle_seconds,
                max_pool_connections=4 * PARTS_AT_ONCE,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def _listed_odd(self, folder: str, after: str | None) -> Iterator[Page]:
        # botocore takes any name, and takes six times as long
        base = self.key("")
        where = {"Bucket": self.bucket, "Prefix": f"{base}{folder}/" if folder else base}
        if after is not None:
            where["StartAfter"] = base + after
        while True:
            page = self.tried("listing of the store", lambda _: self.core().list_objects_v2(**where))
            yield [(str(item["Key"])[len(base) :], int(item["Size"])) for item in page.get("Contents", ())]
            if not page.get("IsTruncated"):
                return
            where["ContinuationToken"] = page["NextContinuationToken"]

    def _large(self, name: str) -> LargeWrite:
        if self.exists(name):
            raise ConflictError(f"object {name} exists")
        return Upload(self, name)


class Upload:
    """A multipart upload.

    Args:
        store: Where to.
        name: The object.
        extra: Further arguments of the creation (an object lock).
        create_only: Whether the completion is to fail where the name is taken.
    """

    def __init__(
        self, store: S3Store, name: str, extra: Mapping[str, Any] | None = None, *, create_only: bool = True
    ) -> None:
        self._store = store
        self._what = f"write of object {name}"
        self._where = {"Bucket": store.bucket, "Key": store.key(name)}
        self._parts: list[dict[str, Any]] = []
        self._running: deque[Future[None]] = deque()
        self._condition = {"IfNoneMatch": "*"} if create_only else {}
        self._doubtful = False
        self._length = 0
        self.version: str | None = None
        self._id = store.tried(self._what, lambda number: self._begin(number, extra or {}))

    def part(self, data: bytes) -> None:
        """Have a part sent; waits while PARTS_AT_ONCE are on their way."""
        number = len(self._parts) + 1
        if number > PARTS_MAX:
            raise UsageError(f"{self._what}: an object has at most {PARTS_MAX} parts")
        entry = {"PartNumber": number, "ETag": ""}
        self._parts.append(entry)
        self._length += len(data)
        while len(self._running) >= PARTS_AT_ONCE:
            self._running.popleft().result()
        self._running.append(self._store.pool().submit(self._send, entry, data))

    def finish(self) -> None:
        """Wait for the parts and join them."""
        while self._running:
            self._running.popleft().result()
        self._store.tried(self._what, self._complete)

    def abandon(self) -> None:
        """Abort the upload, so that its parts are gone."""
        for future in self._running:
            future.cancel()
        for future in self._running:
            if not future.cancelled():
                future.exception()
        self._running.clear()
        try:
            self._abort(self._id)
            if self._doubtful:
                self._abort_others()
        except StrongroomError:
            return  # the first error is what the caller must see; a rule of the bucket removes old uploads

    # -- inside ---------------------------------------------------------------------------------
    def _begin(self, number: int, extra: Mapping[str, Any]) -> str:
        self._doubtful = number > 0
        return str(self._store.core().create_multipart_upload(**self._where, **extra)["UploadId"])

    def _send(self, entry: dict[str, Any], data: bytes) -> None:
        def once(_: int) -> str:
            answer = self._store.core().upload_part(
                **self._where, UploadId=self._id, PartNumber=entry["PartNumber"], Body=data
            )
            return str(answer["ETag"])

        entry["ETag"] = self._store.tried(self._what, once)

    def _complete(self, number: int) -> None:
        import botocore.exceptions

        try:
            answer = self._store.core().complete_multipart_upload(
                **self._where, UploadId=self._id, MultipartUpload={"Parts": self._parts}, **self._condition
            )
            self.version = answer.get("VersionId")
        except botocore.exceptions.ClientError as error:
            code = error.response.get("Error", {}).get("Code")
            if number == 0 or code not in {"NoSuchUpload", "PreconditionFailed", "404", "412"} or not self._is_there():
                raise

    def _is_there(self) -> bool:
        """Whether the object under the name is ours: an earlier completion had worked and its answer was lost."""
        found = self._store.core().head_object(**self._where)
        self.version = found.get("VersionId")
        return str(found["ETag"]).endswith(f'-{len(self._parts)}"') and found["ContentLength"] == self._length

    def _abort(self, upload: str) -> None:
        try:
            self._store.tried(
                self._what, lambda _: self._store.core().abort_multipart_upload(**self._where, UploadId=upload)
            )
        except NotFoundError:
            return

    def _abort_others(self) -> None:
        """Abort uploads under our name that a lost answer may have left: nobody else writes under it."""
        core = self._store.core()
        answer = core.list_multipart_uploads(Bucket=self._where["Bucket"], Prefix=self._where["Key"])
        for found in answer.get("Uploads", ()):
            if found["Key"] == self._where["Key"]:
                self._abort(found["UploadId"])
