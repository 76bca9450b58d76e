"""The OpenAPI document of the API, made from the very types that requests and answers are read and written with."""

from __future__ import annotations

from typing import Any

import msgspec

from strongroom.identity import asked
from strongroom.server.answers import ANSWERS, ExportEnded, ExportStarted, Problem
from strongroom.server.exporting import DIGEST, EXPORTED, ID, MEDIA, STARTED, ZIP

VERSION = "1.0.0"
_REFERENCE = "#/components/schemas/{name}"
_ABOUT = """\
Every request is signed by its caller: an HTTP message signature (RFC 9421, `ed25519`, label `sig1`) over `@method`, \
`@path`, `content-digest` (RFC 9530, `sha-256`), and over `strongroom-plan` and `idempotency-key` where they are sent; \
with `created`, `expires` (at most 300 s later), a `nonce` and the `keyid` of a credential. Without one every path \
answers 401 and says nothing else. Personal data stands in bodies only."""
_HEADERS = (
    ("Content-Digest", "Digest of the body, as `sha-256=:…:`.", True),
    ("Signature-Input", 'What is signed, as `sig1=(…);created=…;expires=…;nonce=…;keyid=…;alg="ed25519"`.', True),
    ("Signature", "The signature, as `sig1=:…:`.", True),
    ("Idempotency-Key", "The same request, sent again under it, is done and charged once.", False),
)
_PROBLEMS = {
    "400": "The request is not what the verb takes.",
    "401": "Nobody known has signed the request.",
    "403": "Refused: `rule` names what refused.",
    "404": "There is no such thing, or not for this purpose.",
    "409": "Somebody else was first, or it was done before.",
    "410": "The person was erased, and the purpose may know.",
    "413": "The body is too large.",
    "429": "A budget is spent: `remaining` is left, some comes back at `resets_at`.",
    "500": "What is stored is not what was written, or a defect.",
    "503": "Try again later.",
}


def document() -> dict[str, Any]:
    """The document (OpenAPI 3.1)."""
    kinds: list[type[msgspec.Struct]] = [
        *asked.VERBS.values(), *ANSWERS.values(), ExportStarted, ExportEnded, Problem,
    ]  # fmt: skip
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    named = dict(zip((kind.__name__ for kind in kinds), schemas, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Strongroom", "version": VERSION, "description": _ABOUT},
        "paths": {f"{asked.API}{{room}}/{verb}": {"post": _operation(verb, named)} for verb in asked.VERBS},
        "components": {
            "schemas": components,
            "securitySchemes": {
                "signature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Signature",
                    "description": "HTTP message signature (RFC 9421) of the caller's credential.",
                }
            },
        },
        "security": [{"signature": []}],
    }


def _operation(verb: str, named: dict[str, Any]) -> dict[str, Any]:
    kind = asked.VERBS[verb]
    parameters = [
        {"name": "room", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
         "description": "Id of the room, 32 hex digits."},
        *(
            {"name": name, "in": "header", "required": needed, "schema": {"type": "string"}, "description": about}
            for name, about, needed in _HEADERS
            if not (verb == "export" and name == "Idempotency-Key")
        ),
    ]  # fmt: skip
    content: dict[str, Any] = {"application/json": {"schema": named[kind.__name__]}}
    if verb == "put":
        parameters.append(
            {
                "name": "Strongroom-Plan",
                "in": "header",
                "required": True,
                "content": {"application/json": {"schema": named[kind.__name__]}},
                "description": "The plan, as JSON; it is signed.",
            }
        )
        content = {
            "text/csv": {"schema": {"type": "string"}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        }
    problem = {"application/problem+json": {"schema": named["Problem"]}}
    return {
        "operationId": verb.replace("-", "_"),
        "summary": (kind.__doc__ or "").strip(),
        "parameters": parameters,
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": _exported(named) if verb == "export" else _answered(ANSWERS[verb], named),
            **{status: {"description": about, "content": problem} for status, about in _PROBLEMS.items()},
        },
    }


def _answered(answer: type[msgspec.Struct], named: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": (answer.__doc__ or "").strip(),
        "content": {"application/json": {"schema": named[answer.__name__]}},
    }


def _exported(named: dict[str, Any]) -> dict[str, Any]:
    """What an export is answered: a body in chunks, that is whole when its trailers have come."""
    told = (
        f"Of one table its file, of several a zip. It is sent in chunks while it is made, and whole only with its last "
        f"one and the trailers: `{DIGEST}` (RFC 9530) of all bytes before, and `{EXPORTED}` ({ExportEnded.__name__}). "
        f"What was cut is no export: it is taken up with `resume` and the id in `{ID}`."
    )
    media = (*MEDIA.values(), ZIP)
    return {
        "description": told,
        "headers": {
            ID: {"description": "Id of the export.", "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"}},
            STARTED: {
                "description": "What was charged and noted, as JSON.",
                "content": {"application/json": {"schema": named[ExportStarted.__name__]}},
            },
        },
        "content": {kind.decode(): {"schema": {"type": "string", "format": "binary"}} for kind in media},
    }
