"""What programs read stays as it is: the JSON of every command, compared with a stored document."""

import re
from pathlib import Path

import pytest

from tests.unit.daemon.conftest import Clorad

DOCUMENTS = Path(__file__).parent / "documents"
SETTINGS = {"CLORAD_LEDGER__FREE_DISK_MIB_MIN": "0", "CLORAD_TELEMETRY__HEALTH_PORT": "0"}
COMMANDS = {
    "agents": ("agents",),
    "audit": ("audit", "--offline"),
    "dead-letters-list": ("dead-letters", "list"),
    "dead-letters-redrive": ("dead-letters", "redrive", "--all", "--dry-run"),
    "dead-letters-show": ("dead-letters", "show", "3"),
    "forget": ("forget", "--author", "ann", "--dry-run"),
    "ledger-size": ("ledger", "size"),
    "passes": ("passes",),
    "receipt-dead-letter": ("receipt", "ide#lost"),
    "receipt-evidence": ("receipt", "dev#g1"),
    "receipt-live": ("receipt", "dev#e1"),
    "rollback": ("rollback", "billing", "--by", "ann", "--reason", "too short"),
    "status": ("status",),
    "versions": ("versions", "billing"),
    "why": ("why", "billing@v1"),
    "why-refused": ("why", "billing@v2"),
}
CHANGING = (
    (re.compile(r"\b1[6-9]\d{8}\.\d+|\b2\d{9}\.\d+"), "<time>"),
    (re.compile(r'("oldest_age_s"): \d+\.\d+'), r"\1: <age>"),
    (
        re.compile(r'("(?:seconds|median_s|longest_s|wait|train|judge|swap)"): -?\d+\.\d+'),
        r"\1: <seconds>",
    ),
    (re.compile(r'("(?:size_bytes|database_bytes|used)"): \d+'), r"\1: <bytes>"),
    (re.compile(r'("whom"): "[0-9a-f]+"'), r'\1: "<fingerprint>"'),
)


def fixed(text: str) -> str:
    """The text without what differs between two runs: times, ages, sizes, fingerprints."""
    for pattern, name in CHANGING:
        text = pattern.sub(name, text)
    return text


@pytest.fixture(autouse=True)
def store(clorad: Clorad, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The adapter store is a folder of this test's own that nobody has made yet.

    `clorad` comes first: it removes every setting from the environment.
    """
    monkeypatch.setenv("CLORAD_STORE__PATH", str(tmp_path / "adapters"))


@pytest.mark.usefixtures("story")
@pytest.mark.parametrize("name", COMMANDS)
def test_the_document_is_the_stored_one(clorad: Clorad, name: str) -> None:
    printed = clorad(*COMMANDS[name], "--json", env=SETTINGS)
    assert printed.code == 0, printed.err
    assert fixed(printed.out) == (DOCUMENTS / f"{name}.json").read_text()


@pytest.mark.usefixtures("story")
def test_the_document_of_what_was_forgotten_is_the_stored_one(clorad: Clorad) -> None:
    clorad("forget", "--author", "ann", "--by", "dpo", "--reason", "asked on Monday")
    for name, words in {
        "forgotten-again": ("forget", "--author", "ann", "--by", "dpo", "--reason", "again"),
        "forgotten-audit": ("audit", "--offline"),
        "forgotten-why": ("why", "billing@v1"),
    }.items():
        printed = clorad(*words, "--json", env=SETTINGS)
        assert fixed(printed.out) == (DOCUMENTS / f"{name}.json").read_text(), name
