"""Whose an event is: its sender's, whatever it says."""

import json
from typing import Any

import pytest

from feedback.envelope import Envelope, open_envelope
from ledger.access.rights import Grant
from serving.gateway.access.attribution import attributed
from serving.gateway.access.caller import ANONYMOUS, Caller
from serving.gateway.edge.errors import RequestRefused
from serving.gateway.recorder import SOURCE

ANN = Caller(grant=Grant(name="ann"), key_id="0123456789ab", author="ann")


def event(source: str = "ide-plugin", **data: Any) -> Envelope:
    headers = {"ce_id": "1", "ce_source": source, "ce_type": "clorad.retraction.v1", "ce_specversion": "1.0"}
    binding = tuple((name, value.encode()) for name, value in headers.items())
    return open_envelope(json.dumps({"agent": "billing", **data}).encode(), binding)


@pytest.mark.parametrize("data", [{}, {"author": "victim"}, {"author": 7}, {"author": None}])
def test_the_author_is_the_caller_whoever_the_event_names(data: dict[str, Any]) -> None:
    mine = attributed(event(**data), ANN)
    assert (mine.data["author"], mine.source) == ("ann", f"{SOURCE}/ann/ide-plugin")


def test_a_retraction_of_ones_own_event_finds_it() -> None:
    for own in ("ide-plugin", SOURCE):
        mine = attributed(event(own, target={"source": own, "id": "7"}), ANN)
        assert mine.data["target"] == {"source": mine.source, "id": "7"}


@pytest.mark.parametrize("target", [{"source": "elsewhere", "id": "7"}, {"id": "7"}, "7", None, ["x"]])
def test_what_else_a_retraction_names_stays(target: Any) -> None:
    assert attributed(event(target=target), ANN).data["target"] == target


def test_without_a_caller_the_event_says_itself_whose_it_is() -> None:
    said = event(author="bob")
    assert attributed(said, ANONYMOUS) == said


@pytest.mark.parametrize("source", [f"{SOURCE}/ann", f"{SOURCE}/ann/ide-plugin", f"{SOURCE}/"])
def test_without_a_key_nobody_uses_the_source_of_somebody_who_has_one(source: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        attributed(event(source), ANONYMOUS)
    assert (refused.value.status, refused.value.reason) == (403, "source")


def test_a_source_that_becomes_too_long_is_refused() -> None:
    with pytest.raises(RequestRefused) as refused:
        attributed(event("x" * 390), ANN)
    assert refused.value.status == 400
