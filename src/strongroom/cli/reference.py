"""The command line's reference, made from the commands themselves.

`python -m strongroom.cli.reference > docs/reference/cli.md`; a test keeps the file equal to `reference()`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from strongroom.cli.app import app

OPENING = """\
# Command line

This page is made from the commands themselves: `python -m strongroom.cli.reference > docs/reference/cli.md`.

Data goes to stdout; everything else goes to stderr. An error is one line, `strongroom: error: …`, mostly followed by
`strongroom: hint: …`. A value that was looked for is never part of either.

## Which room

`strongroom.toml` in the working directory names the room and which keymaster to ask, so that `--room`, `--keys` and
`--passphrase-file` can be left out. It never holds a key, and never a purpose. An option goes before the file.

| setting | meaning |
| --- | --- |
| `room` | folder or URL of the bucket |
| `keys` | folder of the keymaster, or URL of its server |
| `passphrase_file` | file with the passphrase; without it the passphrase is asked for on the terminal |
| `pkcs11_module` | PKCS#11 module of the tokens, a shared library that runs in this process |
| `token` | label of the token that opens the keymaster, instead of a passphrase |
| `pin_file` | file with the token's PIN; without it the PIN is asked for on the terminal |
| `kms_key` | AWS KMS key that opens the keymaster: id, ARN or alias; credentials come from the usual AWS chain |
| `credential` | file of the credential that signs what is asked of a server; `STRONGROOM_CREDENTIAL` goes before it |
| `room_id` | the room's id, by which people sign in; `keymaster serve` prints it |
| `issuer` | the OpenID provider at which `signin` signs people in |
| `client_id` | how that provider knows Strongroom |
| `authorities` | PEM file with the certificates that the server's must lead to; without it those of the machine |

## Personal values

`find` and `get` print the values of a record to a file or a pipe. On a terminal they print the names of the fields
only, unless `--show` is given. A value to look for is best sent on stdin, as `-`: a command line stays in the shell's
history.

## Exit codes

| code | meaning | what to do |
| --- | --- | --- |
| 0 | done | |
| 2 | usage: the call, a file or a setting is wrong | correct it |
| 3 | denied: purpose, budget or passphrase | ask for less, ask somebody else, or wait |
| 4 | integrity: what is stored is not what was written | stop |
| 5 | not found, or not for this purpose | |
| 6 | unavailable: a store or a database does not answer, or a disk is full | try again later |
| 7 | conflict: somebody else was first, or it is there already | look again, then decide |
| 130 | interrupted: nothing is half done; what was charged stays charged | |
"""

EXAMPLES = {
    "create": ["strongroom create --schema schema.toml --policy policy.toml --room ./bucket --keys ./keys"],
    "draft": ["strongroom draft persons.csv > schema.toml"],
    "put": [
        "strongroom put persons persons.csv --actor kit",
        "strongroom put persons - --format csv --actor kit < persons.csv",
    ],
    "get": ['strongroom get persons - --actor mei --purpose delivery --reason "parcel 4411"'],
    "find": [
        'strongroom find persons --where mobile=- --actor mei --purpose delivery --reason "parcel 4411"',
        'strongroom find parcels --where tracking=- --actor mei --purpose delivery --reason "parcel 4411" --json',
    ],
    "sql": [
        (
            'strongroom sql "select sex, count(*) from persons group by 1" --actor lin --purpose statistics'
            " --reason census"
        ),
        (
            'strongroom sql "select religion, count(*) from persons group by 1" --persons 9000 --actor lin'
            " --purpose survey --reason census"
        ),
    ],
    "export": [
        (
            "strongroom export persons --to persons.csv --recipient uni-north --actor ana --purpose extract"
            ' --reason "study 9"'
        ),
        (
            "strongroom export persons parcels --to s3://handed-over/study-9/ --format parquet"
            ' --where "birth_year >= 1990" --recipient uni-north --actor ana --purpose extract --reason "study 9"'
        ),
        (
            "strongroom export cases --subjects subjects.txt --to cases.jsonl --recipient court --actor ana"
            ' --purpose court --reason "case 41"'
        ),
        (
            "strongroom export persons --to shown.csv --persons 5000 --recipient uni-north --actor ana"
            ' --purpose shown --reason "study 9" --room https://room.example:8447'
        ),
    ],
    "canaries plant": [
        (
            "strongroom canaries plant --policy canaries.toml --actor ana --purpose planting"
            ' --reason "canaries of the year" --approval 8f3a0c21d4e5b697'
        ),
        (
            "strongroom canaries plant --policy canaries.toml --colluders 2 --sample 750000 --actor ana"
            ' --purpose planting --reason "canaries of the year" --approval 8f3a0c21d4e5b697'
        ),
    ],
    "canaries list": ["strongroom canaries list --actor max"],
    "canaries ask": [
        (
            "strongroom canaries ask persons --subject - --actor ada --purpose asking"
            ' --reason "case 9" --approval 8f3a0c21d4e5b697 < subjects.txt'
        ),
    ],
    "canaries test": [
        (
            "strongroom canaries test persons --actor ada --purpose asking"
            ' --reason "monthly test" --approval 8f3a0c21d4e5b697'
        ),
    ],
    "exports": ["strongroom exports --actor kit", "strongroom exports --actor ana --json"],
    "open-code": [
        'strongroom open-code 89abcdef89abcdef89abcdef89abcdef --actor kit --reason "court, case 9"',
        "strongroom open-code 89abcdef89abcdef89abcdef89abcdef --actor kit --to row.json --trace 4711",
    ],
    "tokenize": [
        (
            'strongroom tokenize persons mobile --export 89ab… --actor ana --purpose matching --reason "case 9"'
            " < mobiles.txt"
        ),
    ],
    "detokenize": [
        (
            'strongroom detokenize persons person_id --export 89ab… --actor max --purpose answer --reason "case 9"'
            " < tokens.txt > subjects.txt"
        ),
    ],
    "trace": [
        (
            "strongroom trace sample-1.csv sample-2.sql.gz --actor ines --purpose incident"
            ' --reason "incident 7" --approval 8f3a…'
        ),
        (
            "strongroom trace sample.csv --report report.html --drafts drafts --words words.toml --actor ines"
            ' --purpose incident --reason "incident 7" --approval 8f3a…'
        ),
        (
            "strongroom trace sample.csv --notify-list list.csv --notify-table persons --notify-purpose told"
            ' --recipient notices --actor ines --purpose incident --reason "incident 7" --approval 8f3a…'
        ),
    ],
    "explain": ["strongroom explain persons --actor mei --purpose delivery --field mobile"],
    "log": [
        "strongroom log --actor kit --last 50",
        "strongroom log --actor mei --mine",
        "strongroom log --actor kit --of mei --from 2026-11-01 --to 2026-11-29T08:30 --touched",
        'strongroom log --actor kit --credential 89ab… --touched --persons --reason "incident 9" --out touched.jsonl',
        'strongroom log --subject - --actor pia --purpose subject-access --reason "letter 7" --out person.json',
    ],
    "check": [
        "strongroom check --actor kit",
        "strongroom check --repair --from ../elsewhere/acme --actor kit",
    ],
    "compact": ["strongroom compact --actor kit"],
    "copy": [
        "strongroom copy --to ../elsewhere/acme --actor kit",
        "strongroom copy --to s3://archive/acme --lock-days 30 --lock-mode compliance --actor kit",
        "strongroom copy --status --actor kit",
    ],
    "restore": [
        "strongroom restore --from ../elsewhere/acme --room ./bucket-2 --actor kit",
        "strongroom restore --from ../elsewhere/acme --room ./bucket-2 --snapshot 41 --actor kit",
    ],
    "rejects": [
        "strongroom rejects --actor kit",
        'strongroom rejects --actor ada --purpose case-work --reason "load 7" --json > rejects.json',
    ],
    "schema": ["strongroom schema --actor kit", "strongroom schema --actor kit --set schema.toml"],
    "keys copy": [
        "strongroom keys copy --to ../elsewhere/keys --actor kit",
        "strongroom keys copy --status --actor kit",
    ],
    "keys forget": ["strongroom keys forget ../elsewhere/keys --actor kit"],
    "keys restore": ["strongroom keys restore --from ../elsewhere/keys --keys ./keys"],
    "keys accept-gap": ["strongroom keys accept-gap --actor kit"],
    "keymaster serve": [
        "strongroom keymaster serve --keys ./keys",
        "strongroom keymaster serve --keys ./keys --sealed",
        "strongroom keymaster serve --keys ./keys --listen 10.0.0.5:8446 --certificate server.pem --key server.key",
        "strongroom keymaster serve --keys ./keys --notify https://alerts.example/ --notify-key alerts.credential",
        'strongroom keymaster serve --keys ./keys --notify "/usr/local/bin/page-somebody security"',
    ],
    "serve": [
        "strongroom serve",
        "strongroom serve --listen 10.0.0.6:8447 --certificate server.pem --key server.key",
        "strongroom serve --openapi > openapi.json",
    ],
    "witness key": ["strongroom witness key ./witness --name north.example/w"],
    "witness serve": [
        'strongroom witness serve ./witness --log "strongroom/0123…+1a2b3c4d+AV…"',
        "strongroom witness serve ./witness --logs logs.txt --listen 10.0.0.7:8448 --certificate w.pem --key w.key",
    ],
    "keymaster open": [
        "strongroom keymaster open --keys ./keys",
        "strongroom keymaster open --keys ./keys --share a.share --share c.share",
    ],
    "keymaster seal": ["strongroom keymaster seal --keys ./keys"],
    "signin": [
        "strongroom signin",
        "strongroom signin --device --issuer https://login.example --client-id strongroom",
        "strongroom signin --passkey",
    ],
    "signout": ["strongroom signout"],
    "actor passkey": ["strongroom actor passkey mei --room-id 0123456789abcdef0123456789abcdef"],
    "actor key": ["strongroom actor key mei --room-id 0123456789abcdef0123456789abcdef --out mei.credential"],
    "actor add": [
        'strongroom actor add mei --line "srk1:mei:…" --actor kit --network 10.0.0.0/8 --purpose delivery',
        "strongroom actor add kit --out kit.credential --days 30 --actor kit --budget hour=20,day=50",
        "strongroom actor add mei --issuer https://login.example --client-id strongroom --value 00u1f7 --actor kit",
        'strongroom actor add mei --line "srp1:mei:…" --hours 8 --actor kit',
    ],
    "actor list": ["strongroom actor list --actor kit"],
    "ask": ['strongroom ask --persons 40 --actor ada --purpose case-work --reason "case 12"'],
    "approve": ["strongroom approve --actor nan", "strongroom approve 8f3a0c21d4e5b697 --actor nan"],
    "review": ['strongroom review 8f3a0c21d4e5b697 --close "was needed: case 12" --actor nan'],
    "freeze": [
        'strongroom freeze actor mei --actor kit --reason "her laptop was stolen"',
        'strongroom freeze room --actor kit --reason "incident 9"',
        "strongroom freeze --actor kit",
    ],
    "unfreeze": ['strongroom unfreeze actor mei --actor kit --reason "a new key pair"'],
    "actor revoke": ["strongroom actor revoke 5f2c0de1a9b84d7c8e3f60b1d2a49c77 --actor kit"],
    "key slots": ["strongroom key slots --actor kit"],
    "key add-slot": [
        "strongroom key add-slot spare --new-passphrase-file spare.txt --actor kit",
        "strongroom key add-slot hsm-2 --new-token hsm-2 --new-pin-file hsm-2.pin --actor kit",
    ],
    "key remove-slot": [
        "strongroom key remove-slot spare --slot spare=spare.txt --actor kit",
        "strongroom key remove-slot hsm-2 --lost --actor kit",
    ],
    "key add-shares": ["strongroom key add-shares board --shares 5 --threshold 3 --out ./shares --actor kit"],
    "key combine": ["strongroom key combine a.share b.share c.share > passphrase"],
    "key turn": [
        "strongroom key turn --slot hsm-1=hsm-1.pin --slot hsm-2=hsm-2.pin --actor kit",
        "strongroom key turn --if-older-than 30 --slot hsm-1=hsm-1.pin --slot hsm-2=hsm-2.pin --actor kit",
    ],
    "key rotate": [
        "strongroom key rotate root --old hsm-1 --slot hsm-1=hsm-1.pin --new hsm-3 --new-token hsm-3 --actor kit",
        "strongroom key rotate page --pages 1024 --actor kit",
        "strongroom key rotate file --older-than 365 --actor kit",
        "strongroom key rotate index --field persons.mobile --actor kit",
        "strongroom key rotate signing --actor kit",
    ],
    "erase": [
        'strongroom erase P-000007 --reason "request 12" --actor kit',
        'strongroom erase --file leaving.txt --confirm 1000 --reason "requests of May" --actor kit',
        "strongroom erase --receipt 4711 --out erasure.json --actor kit",
    ],
    "hold": ['strongroom hold P-000007 --reason "suit 4" --actor kit'],
    "unhold": ['strongroom unhold P-000007 --reason "suit 4 is over" --actor nan'],
    "retention": ["strongroom retention --actor kit", "strongroom retention --schema schema.toml --actor kit"],
    "verify": [
        "strongroom verify erasure.json --key log.key",
        'strongroom verify erasure.json --key log.key --witness "north.example/w+…" --quorum 1',
        "strongroom verify person.json",
        "strongroom verify row.json --key log.key --json",
    ],
    "policy": [
        "strongroom policy --actor kit",
        "strongroom policy --actor kit --test policy.toml --from 2026-11-01",
        "strongroom policy --actor kit --set policy.toml",
    ],
}


def verbs() -> dict[str, Any]:
    """Every verb, those of a group under both words, as `key turn`."""
    group: Any = typer.main.get_command(app)
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        below = getattr(command, "commands", None)
        found |= {name: command} if below is None else {f"{name} {word}": verb for word, verb in below.items()}
    return found


def reference() -> str:
    """The whole page, as Markdown."""
    return "\n".join([OPENING, *(_verb(name, command) for name, command in verbs().items())])


def _verb(name: str, command: Any) -> str:
    parameters = [parameter for parameter in command.params if parameter.name != "help"]
    arguments = [p for p in parameters if p.param_type_name == "argument"]
    options = [p for p in parameters if p.param_type_name == "option"]
    words = [f"strongroom {name}", *(_argument(p) for p in arguments)]
    words += [_spelled(p) for p in options if p.required]
    lines = [f"## `{name}`", "", _text(command.help), "", "```", " ".join([*words, "[options]"]), "```", ""]
    rows = [(_argument(p), _meaning(p)) for p in arguments] + [(_spelled(p), _meaning(p)) for p in options]
    lines += ["| argument or option | meaning |", "| --- | --- |"]
    lines += [f"| `{spelled}` | {meaning} |" for spelled, meaning in rows]
    return "\n".join([*lines, "", *_examples(name)])


def _examples(name: str) -> Sequence[str]:
    return ["```", *EXAMPLES[name], "```", ""] if name in EXAMPLES else []


def _argument(parameter: Any) -> str:
    return f"{parameter.name.upper()}{'…' if parameter.nargs == -1 else ''}"


def _spelled(parameter: Any) -> str:
    if parameter.is_flag:
        return str(parameter.opts[0])
    return f"{parameter.opts[0]} {parameter.metavar or _kind(parameter)}"


def _kind(parameter: Any) -> str:
    return "N" if isinstance(parameter.default, int) else "TEXT"


def _meaning(parameter: Any) -> str:
    notes = []
    if parameter.param_type_name == "option" and parameter.required:
        notes.append("Required.")
    if getattr(parameter, "multiple", False):
        notes.append("May be given several times.")
    if isinstance(parameter.default, int) and not isinstance(parameter.default, bool):
        notes.append(f"Default: {parameter.default:,}.")
    return " ".join([_text(parameter.help), *notes]).replace("|", "\\|")


def _text(text: str | None) -> str:
    return " ".join((text or "").split())


if __name__ == "__main__":
    print(reference(), end="")
