"""`strongroom key`: the slots of the keymaster, the epoch turn, and the rotation of every other key."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strongroom.cli.common import (
    ActorOption,
    JsonOption,
    KeysOption,
    ModuleOption,
    PassphraseOption,
    RoomOption,
    Where,
    ask_passphrase,
    counted,
    minute,
    open_keys,
    open_room,
    print_json,
    print_table,
    say,
    secret_of,
    token_of,
    where,
)
from strongroom.cli.showing import hides_values
from strongroom.errors import ConflictError, KeysError, NotFoundError, UsageError

if TYPE_CHECKING:
    from strongroom.keymaster.embedded import EmbeddedKeymaster
    from strongroom.keymaster.erasures.turning import TurnReport
    from strongroom.keymaster.slotting import SlotState
    from strongroom.keys.slots import Keeper

key_app = typer.Typer(
    name="key",
    help="The keymaster's slots, the epoch turn, and the rotation of keys.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

SlotsOption = Annotated[
    list[str] | None,
    typer.Option("--slot", help="File with the passphrase or PIN of a slot.", metavar="NAME=FILE"),
]


def slots(
    actor: ActorOption,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the slots: kind, epoch, when made and when tested."""
    del actor  # what is listed here, whoever opens the keymaster can see
    with open_keys(where(room, keys, passphrase_file)) as (keymaster, _):
        states = keymaster.slots.all()
    if as_json:
        print_json([asdict(state) for state in states])
        return
    print_table(
        ("slot", "kind", "epoch", "made", "tested", "state"),
        [
            (s.name, s.kind, s.epoch, minute(s.made), minute(s.tested), "there" if s.there else "its file is missing")
            for s in states
        ],
    )


def add_slot(
    name: Annotated[str, typer.Argument(help="Name of the new slot: lower-case letters, digits, dashes.")],
    actor: ActorOption,
    new_passphrase_file: Annotated[
        Path | None, typer.Option("--new-passphrase-file", help="File with its passphrase.", metavar="FILE")
    ] = None,
    new_token: Annotated[
        str | None, typer.Option("--new-token", help="Token that holds its key.", metavar="LABEL")
    ] = None,
    new_pin_file: Annotated[
        Path | None, typer.Option("--new-pin-file", help="File with the token's PIN.", metavar="FILE")
    ] = None,
    new_kms_key: Annotated[
        str | None, typer.Option("--new-kms-key", help="KMS key that wraps it: id, ARN or alias.", metavar="KEY")
    ] = None,
    pkcs11_module: ModuleOption = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Add a slot, another way to open the keymaster, and test it."""
    keeper = _new_keeper(new_passphrase_file, new_token, new_pin_file, pkcs11_module, new_kms_key)
    with open_keys(where(room, keys, passphrase_file)) as (keymaster, _):
        state = keymaster.slots.add(actor, name, keeper)
    say(f"slot {state.name} ({state.kind}) is made and tested")


def _new_keeper(
    passphrase_file: Path | None, token: str | None, pin_file: Path | None, module: str | None, kms_key: str | None
) -> Keeper:
    from strongroom.keys.slot_kms import KmsKeeper
    from strongroom.keys.slot_passphrase import PassphraseKeeper

    if kms_key is not None:
        if passphrase_file is not None or token is not None:
            raise UsageError("a slot is opened by a passphrase, by a token or by a KMS key")
        return KmsKeeper(kms_key)
    if token is not None:
        if passphrase_file is not None:
            raise UsageError("a slot is opened by a passphrase or by a token")
        return token_of(token, pin_file, module).keeper()
    if passphrase_file is not None:
        return PassphraseKeeper(secret_of(passphrase_file))
    passphrase = ask_passphrase("passphrase of the new slot: ")
    if ask_passphrase("the same passphrase again: ") != passphrase:
        raise UsageError("the two passphrases differ")
    return PassphraseKeeper(passphrase)


def remove_slot(
    name: Annotated[str, typer.Argument(help="Name of the slot.")],
    actor: ActorOption,
    slot: SlotsOption = None,
    lost: Annotated[
        bool, typer.Option("--lost", help="The slot cannot be opened any more; its key is not destroyed.")
    ] = False,
    pkcs11_module: ModuleOption = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Take a slot away and destroy its key; never the last one."""
    with open_keys(where(room, keys, passphrase_file)) as (keymaster, keeper):
        states = [state for state in keymaster.slots.all() if state.name == name]
        given = None if lost else _keepers(keymaster, states, slot, keeper, pkcs11_module).get(name)
        keymaster.slots.remove(actor, name, given)
    say(f"slot {name} is gone" + (": whoever finds it opens old backups of the keymaster" if lost else ""))


def turn(
    actor: ActorOption,
    slot: SlotsOption = None,
    if_older_than: Annotated[
        float | None, typer.Option("--if-older-than", help="Only if the epoch has lasted so long.", metavar="DAYS")
    ] = None,
    pkcs11_module: ModuleOption = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn the epoch: a new root under every key, in every slot and copy; only then the old ones are destroyed."""
    with open_keys(where(room, keys, passphrase_file)) as (keymaster, keeper):
        age = keymaster.turning.age_days()
        if if_older_than is not None and age < if_older_than:
            say(f"the epoch has lasted {age:.1f} days: not turned")
            return
        keepers = _keepers(keymaster, keymaster.slots.all(), slot, keeper, pkcs11_module)
        _print_turn(keymaster.turning.turn(actor, keepers), as_json=as_json)


def rotate(
    what: Annotated[str, typer.Argument(help="Which keys: root, epoch, page, file, index, signing.")],
    actor: ActorOption,
    slot: SlotsOption = None,
    old_slot: Annotated[str | None, typer.Option("--old", help="root: the slot that goes.", metavar="NAME")] = None,
    new_slot: Annotated[str | None, typer.Option("--new", help="root: the slot that comes.", metavar="NAME")] = None,
    new_passphrase_file: Annotated[
        Path | None, typer.Option("--new-passphrase-file", help="root: its passphrase.", metavar="FILE")
    ] = None,
    new_token: Annotated[str | None, typer.Option("--new-token", help="root: its token.", metavar="LABEL")] = None,
    new_pin_file: Annotated[
        Path | None, typer.Option("--new-pin-file", help="root: the PIN of its token.", metavar="FILE")
    ] = None,
    pages: Annotated[int, typer.Option("--pages", help="page: at most so many in this call.")] = 1024,
    runs: Annotated[int, typer.Option("--runs", help="file: at most so many in this call.")] = 64,
    older_than: Annotated[
        float, typer.Option("--older-than", help="file: only runs written so long ago.", metavar="DAYS")
    ] = 0.0,
    field: Annotated[
        str | None, typer.Option("--field", help="index: which indexed field.", metavar="TABLE.FIELD")
    ] = None,
    pkcs11_module: ModuleOption = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rotate keys, while reads and puts go on: docs/reference/keys.md says what each costs."""
    place = where(room, keys, passphrase_file)
    if what == "epoch":
        turn(actor, slot, None, pkcs11_module, room, keys, passphrase_file, as_json)
    elif what == "root":
        if old_slot is None or new_slot is None:
            raise UsageError("rotating the root needs --old and --new")
        new = _new_keeper(new_passphrase_file, new_token, new_pin_file, pkcs11_module, None)
        with open_keys(place) as (keymaster, keeper):
            states = [state for state in keymaster.slots.all() if state.name == old_slot]
            old = _keepers(keymaster, states, slot, keeper, pkcs11_module).get(old_slot)
            keymaster.rotating.root(actor, old_slot, old, new_slot, new)
        say(f"slot {new_slot} is in the place of {old_slot}")
    elif what == "page":
        with open_keys(place) as (keymaster, _):
            report = keymaster.rotating.pages(actor, pages)
        _print_report(report.to_dict(), as_json=as_json)
    elif what == "signing":
        with open_keys(place) as (keymaster, _):
            report_of = keymaster.resigning.rotate(actor)
        _print_report(report_of.to_dict(), as_json=as_json)
    elif what in {"file", "index"}:
        _rotate_in_room(what, place, actor, field, older_than, runs, as_json=as_json)
    else:
        raise UsageError(f"there are no {what} keys", hint="root, epoch, page, file, index or signing")


def _rotate_in_room(
    what: str, place: Where, actor: str, field: str | None, older_than: float, runs: int, *, as_json: bool
) -> None:
    table, dot, name = (field or "").partition(".")
    if what == "index" and not dot:
        raise UsageError("rotating an index needs --field TABLE.FIELD")
    with open_room(place, actor) as opened:
        report = opened.rotate_index(table, name) if what == "index" else opened.rotate_files(
            older_days=older_than, most=runs
        )
    _print_report(report.to_dict(), as_json=as_json)


def _print_report(report: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        say(", ".join(f"{name} {value:,}" if isinstance(value, int) else str(value) for name, value in report.items()))


def _print_turn(report: TurnReport, *, as_json: bool) -> None:
    if as_json:
        print_json(report.to_dict())
        return
    say(
        f"epoch {report.epoch} is in force: {counted(report.wrapped, 'key')} wrapped anew,"
        f" {counted(report.slots, 'slot')} made, {counted(report.destroyed, 'old slot')} destroyed,"
        f" copies of the key store renewed: {report.copies}"
    )
    if report.waits:
        for line in report.waits:
            say(f"erasures before it are not final: {line}")
    else:
        say("erasures before it are final")


def _keepers(
    keymaster: EmbeddedKeymaster,
    states: Sequence[SlotState],
    given: Sequence[str] | None,
    own: Keeper,
    module: str | None,
) -> Mapping[str, Keeper]:
    """What opens each slot: the file given for it, what opened the keymaster, or what is typed."""
    from strongroom.keys.slot_passphrase import PassphraseKeeper
    from strongroom.keys.slots import check_slot, slot_named

    files = dict(_name_and_file(word) for word in given or ())
    unknown = sorted(set(files) - {state.name for state in states})
    if unknown:
        raise NotFoundError(f"there is no slot {unknown[0]}", hint="`strongroom key slots` lists them")
    found: dict[str, Keeper] = {}
    for state in states:
        if not state.there:
            continue
        head = slot_named(keymaster.slots.folder, state.name, state.epoch)
        own_token = str(head.head.more.get("token", ""))
        if state.name in files and state.kind == "passphrase":
            found[state.name] = PassphraseKeeper(secret_of(files[state.name]))
        elif state.name in files:
            found[state.name] = token_of(own_token, files[state.name], module).keeper()
        elif own.owns(head.head) and _opens(lambda slot=head: check_slot(slot, own, keymaster.ring)):
            found[state.name] = own
        elif state.kind == "passphrase":
            found[state.name] = PassphraseKeeper(ask_passphrase(f"passphrase of slot {state.name}: "))
        else:
            found[state.name] = token_of(own_token, None, module).keeper()
    return found


def _opens(check: Any) -> bool:
    try:
        check()
    except KeysError:
        return False
    return True


def _name_and_file(word: str) -> tuple[str, Path]:
    name, equals, file = word.partition("=")
    if not name or not equals or not file:
        raise UsageError("--slot takes NAME=FILE", hint="the file holds the passphrase or PIN of that slot")
    return name, Path(file)


def add_shares(
    name: Annotated[str, typer.Argument(help="Name of the new slot: lower-case letters, digits, dashes.")],
    actor: ActorOption,
    out: Annotated[Path, typer.Option("--out", help="New folder for the shares, a file each.", metavar="FOLDER")],
    threshold: Annotated[int, typer.Option("--threshold", help="How many open the slot.", metavar="M")] = 3,
    shares: Annotated[int, typer.Option("--shares", help="How many there are.", metavar="N")] = 5,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Add a slot that M of N shares open. Nobody sees its passphrase; each share goes to another person."""
    from strongroom.keys.shares import split_passphrase
    from strongroom.keys.slot_passphrase import PassphraseKeeper

    passphrase, texts = split_passphrase(threshold, shares)
    with open_keys(where(room, keys, passphrase_file)) as (keymaster, _):
        _write_shares(out, name, texts)
        try:
            keymaster.slots.add(actor, name, PassphraseKeeper(passphrase))
        except BaseException:
            shutil.rmtree(out)
            raise
    say(f"slot {name} is made: any {threshold} of the {shares} shares in {out} open it. Give each to another person")


def _write_shares(folder: Path, name: str, texts: Sequence[str]) -> None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise ConflictError(f"{folder} exists", hint="shares get a folder of their own") from None
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}") from None
    for number, text in enumerate(texts, 1):
        path = folder / f"{name}-{number}.share"
        path.touch(mode=0o600)
        path.write_text(text + "\n", encoding="utf-8")


def combine(
    files: Annotated[list[Path], typer.Argument(help="Files with a share each.", metavar="FILE…")],
    show: Annotated[bool, typer.Option("--show", help="Print it to the terminal.")] = False,
) -> None:
    """Print the passphrase that shares give back, for `--passphrase-file -` of another command."""
    from strongroom.keys.shares import combine_passphrase

    if hides_values(show=show):
        raise UsageError("a passphrase to a terminal", hint="--show prints it; or pipe it to --passphrase-file -")
    print(combine_passphrase([secret_of(path) for path in files]))


def add_to(app: typer.Typer) -> None:
    """Add this group of verbs."""
    key_app.command("slots")(slots)
    key_app.command("add-slot")(add_slot)
    key_app.command("add-shares")(add_shares)
    key_app.command("combine")(combine)
    key_app.command("remove-slot")(remove_slot)
    key_app.command("turn")(turn)
    key_app.command("rotate")(rotate)
    app.add_typer(key_app, name="key")
