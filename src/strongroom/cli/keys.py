"""`strongroom keys`: the keymaster elsewhere, and home again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    CopyFromOption,
    CopyToOption,
    DatabaseOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    RoomOption,
    counted,
    minute,
    open_keys,
    print_json,
    print_table,
    refuse_store,
    say,
    where,
)
from strongroom.errors import UsageError

if TYPE_CHECKING:
    from strongroom.keymaster.keycopies import KeyCopy
    from strongroom.keymaster.log.tailapi import Gap

keys_app = typer.Typer(
    name="keys",
    help="Copies of the keymaster, and a keymaster from a copy.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def copy(
    actor: ActorOption,
    to: CopyToOption = None,
    status: Annotated[bool, typer.Option("--status", help="List the copies and how old each is.")] = False,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy database, key pages and slots to another place: never the bucket's, best another account."""
    if (to is None) == (not status):
        raise UsageError("keys copy takes either --to or --status", hint="`strongroom keys copy --to URL` makes a copy")
    place = where(room, keys, passphrase_file)
    if to is not None:
        refuse_store(place.room, to)
    with open_keys(place) as (keymaster, _):
        if to is None:
            _print_status(keymaster.key_copies.copies(), as_json=as_json)
            return
        made = keymaster.key_copies.copy(actor, to)
    if as_json:
        print_json(made.to_dict())
    else:
        say(
            f"the keymaster is at {made.url}, as of entry {made.leaf - 1} of its log:"
            f" {counted(made.pages, 'object')} of pages, {made.bytes:,} bytes copied"
        )


def _print_status(found: list[KeyCopy], *, as_json: bool) -> None:
    if as_json:
        print_json([copy.to_dict() for copy in found])
    elif not found:
        say("no copy was made yet: `strongroom keys copy --to URL` makes one")
    else:
        rows = [(c.url, c.leaf, c.epoch, c.pages, minute(c.made)) for c in found]
        print_table(("copy", "entries", "epoch", "pages", "made"), rows)


def forget(
    url: Annotated[str, typer.Argument(help="Folder or URL of the copy, as `keys copy --status` lists it.")],
    actor: ActorOption,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Take a copy off the list: a turn of the epoch does not renew it any more. What lies there stays."""
    with open_keys(where(room, keys, passphrase_file)) as (keymaster, _):
        keymaster.key_copies.forget_copy(actor, url)
    say("forgotten: what it holds opens until the next turn of the epoch, with the slots of now")


def restore(
    source: CopyFromOption,
    keys_store: Annotated[
        str | None, typer.Option("--keys-store", help="An empty store for key pages and log.", metavar="URL")
    ] = None,
    database: DatabaseOption = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the keymaster's folder that --keys names from a copy, by a passphrase or token of one of its slots."""
    from strongroom.keymaster.keyrestore import restore_keymaster

    place = where(room, keys, passphrase_file)
    if keys_store is not None:
        refuse_store(place.room, keys_store)
    done = restore_keymaster(Path(place.keys), source=source, store=keys_store, database=database, **place.unlock())
    if as_json:
        print_json(done.to_dict())
    else:
        say(f"the keymaster is home at {place.keys}, epoch {done.epoch}, as of entry {done.leaf - 1} of its log")
        say("the next command that opens the room lets it catch up with what the room knows of its log")


def accept_gap(
    actor: ActorOption,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on without a part of the log that is lost for good. One person asks, another runs the same to agree."""
    from strongroom.replicate.home import accept_gap as accept

    place = where(room, keys, passphrase_file)
    with open_keys(place) as (keymaster, _):
        gap = accept(place.room, keys=keymaster, actor=actor)
    if as_json:
        print_json(gap.to_dict())
    elif gap.accepted:
        say(f"{_gap(gap)} given up, by entry {gap.leaf}")
        say("who was erased or held in that time is not any more: erase and hold again, and look at policy and roles")
    else:
        say(f"{_gap(gap)} to be given up: another person who may restore runs the same to agree")


def _gap(gap: Gap) -> str:
    if gap.end > gap.first:
        return f"entries {gap.first} to {gap.end - 1} of the log are"
    return f"whatever came after entry {gap.first - 1} of the log is"


def add_to(app: typer.Typer) -> None:
    """Add this group of verbs."""
    keys_app.command("copy")(copy)
    keys_app.command("forget")(forget)
    keys_app.command("restore")(restore)
    keys_app.command("accept-gap")(accept_gap)
    app.add_typer(keys_app, name="keys")
