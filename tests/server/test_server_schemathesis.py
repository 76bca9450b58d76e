"""Schemathesis runs against the OpenAPI document: whatever it sends, signed, is answered as the document says."""

import json
import time

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from room_api import Api
from small_room import person

from strongroom.identity import asked
from strongroom.identity.signing import sign_request
from strongroom.server.openapi import document

# what the room has, so that some of what is sent is answered and not refused
KNOWN = {
    "purpose": "case-work", "reason": "case 1", "table": "persons", "subjects": ["P-000001"], "approval": None,
    "where": {"mobile": [person(3)["mobile"]]}, "fields": None, "cursor": None, "snapshot": None, "break_glass": False,
    "schema": None, "put_id": None,
}  # fmt: skip

EXPORTED = {
    "purpose": "extract", "reason": "study 9", "tables": ["persons", "parcels"], "recipient": "uni-north", "persons": 300,
    "subjects": None, "where": None, "resume": None, "approval": None, "break_glass": False, "format": "csv",
}  # fmt: skip


@pytest.fixture
def api(request, verb):
    with Api(request.getfixturevalue("sending" if verb == "export" else "room")) as made:
        yield made


def described():
    """The document without the headers that this test signs by itself."""
    made = json.loads(json.dumps(document()))
    for operation in made["paths"].values():
        post = operation["post"]
        post["parameters"] = [p for p in post["parameters"] if p["in"] != "header" or p["name"] == "Strongroom-Plan"]
    return schemathesis.openapi.from_dict(made)


@pytest.mark.parametrize("verb", sorted(asked.VERBS))
def test_whatever_is_sent_is_answered_as_the_document_says(api, verb):
    """Bodies of the schema and bodies beside it: statuses, media types and answers are those of the document; no 500."""
    schema = described()
    operation = schema[f"{asked.API}{{room}}/{verb}"]["POST"]
    credentials = {actor: api.keys.credential(actor) for actor in (("ana",) if verb == "export" else ("ada", "kit"))}
    seen, there = set(), EXPORTED if verb == "export" else KNOWN
    names = st.one_of(st.just(set(there)), st.sets(st.sampled_from(sorted(there))))

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(), actor=st.sampled_from(sorted(credentials)), known=names)
    def send(case, actor, known):
        own = credentials[actor]
        if isinstance(case.body, dict):
            case.body = case.body | {name: there[name] for name in known & case.body.keys()}
        case.path_parameters = {"room": api.keys.room_id.hex()}
        prepared = case.as_transport_kwargs(base_url=api.url)
        body = as_bytes(prepared)
        plan = (case.headers or {}).get("Strongroom-Plan", "")
        further = {"strongroom-plan": plan} if plan.isascii() and plan.isprintable() and plan.strip() else {}
        now = int(time.time())
        signed = sign_request(
            own.seed, own.id, "POST", asked.path_of(api.keys.room_id, verb), body,
            created=now, expires=now + 60, nonce=time.monotonic_ns().to_bytes(16, "big"),
            further=further,
        )  # fmt: skip
        case.headers = signed
        answer = case.call(base_url=api.url, data=body, json=None)
        seen.add(answer.status_code)
        assert answer.status_code != 500, answer.text
        case.validate_response(answer, excluded_checks=_EXCLUDED)

    send()
    assert seen
    if verb in _ANSWERED:
        assert 200 in seen, seen


_ANSWERED = {
    "whoami", "schema", "policy", "explain", "log", "get", "find", "export", "hold", "exports", "rejects", "open-rejects",
    "retention",
}  # fmt: skip
# the authority of a request is its signature, which this test makes for all; bodies of the schema may name what is not there
_NAMES = (
    "ignored_auth",
    "negative_data_rejection",
    "positive_data_acceptance",
    "missing_required_header",
    "unsupported_method",
    "use_after_free",
    "ensure_resource_availability",
)
_EXCLUDED = [getattr(schemathesis.checks, name) for name in _NAMES if hasattr(schemathesis.checks, name)]


def as_bytes(prepared):
    """The body that goes over the wire."""
    if prepared.get("data") is not None:
        data = prepared["data"]
        return data.encode() if isinstance(data, str) else bytes(data)
    return json.dumps(prepared.get("json")).encode() if "json" in prepared else b""
