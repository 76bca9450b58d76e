"""What the verbs share: which room, which keymaster, who asks, and how results are printed.

`strongroom.toml` in the working directory names the room and which keymaster to ask. It never holds a key, and never a
purpose.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from strongroom.cli.sessionfile import signed_in
from strongroom.errors import NotFoundError, StrongroomError, UsageError

if TYPE_CHECKING:
    from strongroom.keymaster.embedded import EmbeddedKeymaster
    from strongroom.keys.slot_pkcs11 import TokenKeeper
    from strongroom.keys.slots import Keeper
    from strongroom.keyserver.client import RemoteKeymaster
    from strongroom.room import Room

CONFIG = "strongroom.toml"
CONFIG_KEYS = (
    "room", "keys", "passphrase_file", "pkcs11_module", "token", "pin_file", "kms_key", "credential", "authorities",
    "room_id", "issuer", "client_id",
)  # fmt: skip
CREDENTIAL_VARIABLE = "STRONGROOM_CREDENTIAL"
RUNNING: ContextVar[str] = ContextVar("running", default="")
"""The verb that runs, as it is typed: approve, actor add."""
NOWHERE = "-"
"""Stands for a room or a keymaster that nothing names."""
ASKED_OF_SERVERS = "reads, holds, tokens, rejects, retention, exports, policy and one's own log are asked of its server"

RoomOption = Annotated[str | None, typer.Option("--room", help="Folder or URL of the bucket.", metavar="URL")]
KeysOption = Annotated[str | None, typer.Option("--keys", help="Folder or URL of the keymaster.", metavar="PLACE")]
PassphraseOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="File with the passphrase; asked for when not given.", metavar="FILE"),
]
ModuleOption = Annotated[
    str | None, typer.Option("--pkcs11-module", help="PKCS#11 module of the tokens.", metavar="PATH")
]
ActorOption = Annotated[str, typer.Option("--actor", help="Who asks.", metavar="NAME")]
PurposeOption = Annotated[str, typer.Option("--purpose", help="What it is for; there is no default.", metavar="NAME")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Case or ticket that this belongs to.", metavar="TEXT")]
DatabaseOption = Annotated[
    str | None,
    typer.Option("--database", help="PostgreSQL database of the keymaster; without it a file.", metavar="URL"),
]
ApprovalOption = Annotated[
    str | None, typer.Option("--approval", help="Id of what another person agreed to.", metavar="ID")
]
BreakGlassOption = Annotated[
    bool, typer.Option("--break-glass", help="Read without that agreement; it is told, and reviewed.")
]
SinceOption = Annotated[
    str | None,
    typer.Option("--from", help="Only from this time on (UTC), as 2026-11-29 or 2026-11-29T08:30.", metavar="TIME"),
]
UntilOption = Annotated[str | None, typer.Option("--to", help="Only before this time (UTC).", metavar="TIME")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print for machines.")]
ShowOption = Annotated[bool, typer.Option("--show", help="Print personal values to the terminal.")]
FieldsOption = Annotated[str | None, typer.Option("--fields", help="Only these.", metavar="A,B,…")]
CopyToOption = Annotated[str | None, typer.Option("--to", help="Folder or URL of the copy.", metavar="URL")]
CopyFromOption = Annotated[str, typer.Option("--from", help="Folder or URL of the copy.", metavar="URL")]
SubjectArgument = Annotated[str, typer.Argument(help="Subject's id, or - to read it from stdin.")]
ActorArgument = Annotated[str, typer.Argument(help="An actor of the policy.", metavar="NAME")]


@dataclass(frozen=True)
class Token:
    """Which token opens the keymaster: its module, its label, and the file with its PIN."""

    module: str
    label: str
    pin_file: Path | None

    def keeper(self) -> TokenKeeper:
        """With its PIN: from the file, or asked for on the terminal."""
        from strongroom.keys.slot_pkcs11 import TokenKeeper

        pin = ask_passphrase(f"PIN of token {self.label}: ") if self.pin_file is None else secret_of(self.pin_file)
        return TokenKeeper(self.module, self.label, pin)


@dataclass(frozen=True)
class Where:
    """Which room and which keymaster a command is about, and what opens it: a token where one is named."""

    room: str
    keys: str
    passphrase_file: Path | None
    token: Token | None = None
    kms_key: str | None = None
    credential: Path | None = None
    authorities: Path | None = None

    @property
    def behind_server(self) -> bool:
        """Whether the room itself is behind a server, which asks its keymaster."""
        return self.room.startswith(("https://", "http://"))

    def signing(self) -> Path:
        """The file of the credential that signs what is asked of a server."""
        if self.credential is None:
            raise UsageError(
                "which credential: nothing names one",
                hint=f'write credential = "…" into {CONFIG}, or set {CREDENTIAL_VARIABLE} to its file',
            )
        return self.credential

    @property
    def served(self) -> bool:
        """Whether the keymaster is on another host, or behind a server here."""
        return "://" in self.keys

    def connect(self) -> RemoteKeymaster:
        """Sign in to a keymaster behind a server."""
        from strongroom.keyserver.client import connect

        return connect(self.keys, credential=self.signing(), authorities=self.authorities)

    def passphrase(self) -> str:
        """The passphrase: from its file, or asked for on the terminal."""
        if self.passphrase_file is None:
            return ask_passphrase("passphrase of the keymaster: ")
        return secret_of(self.passphrase_file)

    def unlock(self) -> dict[str, Any]:
        """What `open_keymaster` is given."""
        if self.kms_key is not None:
            from strongroom.keys.slot_kms import KmsKeeper

            return {"token": KmsKeeper(self.kms_key)}
        return {"passphrase": self.passphrase()} if self.token is None else {"token": self.token.keeper()}


def secret_of(path: Path) -> str:
    """The passphrase or PIN in a file, or on the first line of stdin where the file is `-`."""
    try:
        text = (sys.stdin.readline() if str(path) == "-" else path.read_text(encoding="utf-8")).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the passphrase file {path}") from error
    if not text:
        raise UsageError(f"the passphrase file {path} is empty")
    return text


def can_ask() -> bool:
    """Whether there is a terminal to ask on."""
    try:
        Path("/dev/tty").open("rb").close()
    except OSError:
        return sys.stdin.isatty()
    return True


def ask_passphrase(prompt: str) -> str:
    """Ask on the terminal, also when stdin is a pipe: the value to look for comes from there."""
    if not can_ask():
        raise UsageError(
            "no passphrase: there is no terminal to ask on",
            hint="--passphrase-file FILE, or passphrase_file in strongroom.toml",
        )
    try:
        return getpass.getpass(prompt, stream=sys.stderr)
    except EOFError:
        raise UsageError("no passphrase was typed") from None


def keys_only(keys: str | None, passphrase_file: Path | None, room: str | None = None) -> Where:
    """For verbs that need no room."""
    return where(room or _config().get("room", NOWHERE), keys, passphrase_file)


def where(room: str | None, keys: str | None, passphrase_file: Path | None) -> Where:
    """Options first, then `strongroom.toml`; UsageError when neither names both."""
    config = _config()
    room = room or config.get("room")
    keys = keys or config.get("keys")
    if room is not None and room.startswith(("https://", "http://")):
        keys = keys or NOWHERE  # the server asks it
    if room is None or keys is None:
        missing = "room" if room is None else "keymaster"
        raise UsageError(
            f"which {missing}: neither an option nor {CONFIG} names one",
            hint=f'write room = "…" and keys = "…" into {CONFIG}, or give --room and --keys',
        )
    token = None
    if passphrase_file is None and "token" in config:
        token = token_of(config["token"], Path(config["pin_file"]) if "pin_file" in config else None)
    elif passphrase_file is None and "kms_key" not in config and "passphrase_file" in config:
        passphrase_file = Path(config["passphrase_file"])
    credential = os.environ.get(CREDENTIAL_VARIABLE) or config.get("credential") or signed_in(config.get("room_id"))
    authorities = config.get("authorities")
    return Where(
        room,
        keys,
        passphrase_file,
        token,
        config.get("kms_key") if passphrase_file is None and token is None else None,
        None if credential is None else Path(credential),
        None if authorities is None else Path(authorities),
    )


def setting(name: str, given: str | None) -> str:
    """What was given on the command line, else what the settings say; UsageError where neither does."""
    if (found := given or _config().get(name)) is None:
        option = name.replace("_", "-")
        raise UsageError(f"which {name}: nothing names one", hint=f'--{option}, or {name} = "…" in {CONFIG}')
    return found


def token_of(label: str, pin_file: Path | None, module: str | None = None) -> Token:
    """A token by its label; UsageError when nobody says which module it has."""
    module = module or _config().get("pkcs11_module")
    if module is None:
        raise UsageError(
            f"which PKCS#11 module has token {label}: neither an option nor {CONFIG} names one",
            hint=f'write pkcs11_module = "…" into {CONFIG}, or give --pkcs11-module',
        )
    return Token(module, label, pin_file)


def _config() -> Mapping[str, str]:
    import tomllib

    path = Path(CONFIG)
    if not path.exists():
        return {}
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{CONFIG} cannot be read as TOML") from error
    for key, value in config.items():
        if key not in CONFIG_KEYS or not isinstance(value, str):
            raise UsageError(f"{CONFIG}: {key} is not a setting", hint=f"settings: {', '.join(CONFIG_KEYS)}")
    return config


@contextmanager
def open_room(place: Where, actor: str) -> Iterator[Room]:
    """The room, open for one command. What is not there is said before a passphrase is asked for, and never made."""
    import strongroom

    check_bucket(place)
    with open_keymaster(place, actor) as keymaster, strongroom.open(place.room, keys=keymaster, actor=actor) as room:
        yield room


def check_bucket(place: Where) -> None:
    """Raise unless a room's bucket is named, and there as far as can be seen from here."""
    if place.behind_server:
        problem = f"{_verb()} is done with the bucket and the keymaster, and the room is behind its server"
        hint = f"name the bucket with --room, and the keymaster with --keys; {ASKED_OF_SERVERS}"
        raise UsageError(problem, hint=hint)
    folder = local_folder(place.room)
    if folder is not None and not folder.is_dir():
        raise NotFoundError(f"there is no room at {place.room}", hint="`strongroom create` makes one")


@contextmanager
def open_keymaster(place: Where, actor: str) -> Iterator[EmbeddedKeymaster | RemoteKeymaster]:
    """The keymaster, open for one command of an actor's: in a folder here, or behind its server."""
    if place.keys == NOWHERE:
        problem = f"{_verb()} is asked of the keymaster itself, and only the room's server is named"
        hint = f'give --keys, or write keys = "https://…" into {CONFIG}; {ASKED_OF_SERVERS}'
        raise UsageError(problem, hint=hint)
    if place.served:
        with place.connect() as remote:
            if remote.actor != actor:  # what is asked is the credential's, whoever is named
                raise UsageError(f"the credential is {remote.actor}'s, and this is asked for {actor}")
            yield remote
    else:
        with open_keys(place) as (keymaster, _):
            yield keymaster


@contextmanager
def open_keys(place: Where) -> Iterator[tuple[EmbeddedKeymaster, Keeper]]:
    """The keymaster of a folder, open for one command, and the keeper that opened it."""
    import strongroom
    from strongroom.keymaster.create import holds_keymaster
    from strongroom.keys.slot_passphrase import PassphraseKeeper

    if place.served:
        hint = "run it on the keymaster's own host"
        raise UsageError(f"{_verb()} is done where the keymaster's folder is", hint=hint)
    if not holds_keymaster(Path(place.keys)):
        raise NotFoundError(f"there is no keymaster at {place.keys}", hint="`strongroom create` makes one")
    unlock = place.unlock()
    keeper: Keeper = unlock["token"] if "token" in unlock else PassphraseKeeper(unlock["passphrase"])
    with strongroom.open_keymaster(place.keys, **unlock) as keymaster:
        yield keymaster, keeper


def _verb() -> str:
    """The verb that runs, as messages name it."""
    verb = RUNNING.get()
    return f"`{verb}`" if verb else "this"


def leave_beside(place: Where, keymaster: EmbeddedKeymaster | RemoteKeymaster) -> None:
    """Leave what was just noted beside the objects too, where a room is named and can be reached: it stands without."""
    from strongroom.catalog.freshness import leave_act
    from strongroom.store.open import open_store

    with suppress(StrongroomError), closing(open_store(place.room, create=False)) as store:
        size = int(keymaster.publish().splitlines()[1])  # a checkpoint's second line
        leave_act(store, keymaster, size - 1)


def local_folder(url: str) -> Path | None:
    """The folder that a room's URL names; None for other kinds of store."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if "://" in url else Path(url)


def refuse_store(room: str, keys_store: str) -> None:
    """The keymaster's pages never lie in the room's bucket, nor around it."""
    folders = local_folder(room), local_folder(keys_store)
    one, two = (str(f.resolve()) if f is not None else url for f, url in zip(folders, (room, keys_store), strict=True))
    one, two = f"{one.rstrip('/')}/", f"{two.rstrip('/')}/"
    if one.startswith(two) or two.startswith(one):
        hint = "give each a bucket and rights of its own"
        raise UsageError("the keymaster's store and the room may not lie in one another", hint=hint)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=None, default=as_jsonable))


def as_jsonable(value: Any) -> Any:
    """What JSON has no form for, as text, or a list."""
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def cell_text(value: Any) -> str:
    """A value as a person reads it."""
    if value is None:
        return "—"
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A plain table on stdout: columns as wide as they need."""
    texts = [[cell_text(cell) for cell in row] for row in rows]
    widths = [max(len(h), *(len(r[i]) for r in texts)) if texts else len(h) for i, h in enumerate(headings)]
    for row in ([*headings], *texts):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def counted(count: int, noun: str) -> str:
    """`1 record`, `2,000 records`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def time_of(text: str | None) -> float | None:
    """Seconds since 1970 of a time in UTC; UsageError if the text is none."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError("a time looks like 2026-11-29 or 2026-11-29T08:30") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def minute(seconds: float) -> str:
    """Seconds since 1970 as a minute of UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def say(text: str) -> None:
    """A line for the person at the terminal, on stderr."""
    print(text, file=sys.stderr)
