"""The ledger that `bench.dashboard` generates is one that clorad can read."""

from pathlib import Path

from bench.dashboard_ledger import VERSIONS, fill
from daemon.commands.documents.status_document import read_status
from daemon.settings import Settings
from ledger.database import Database
from ledger.reports.history.gate_accuracy import by_version, gate_accuracies


def test_every_agent_serves_its_last_version_and_has_a_curve(tmp_path: Path) -> None:
    url = fill(tmp_path / "clorad.db", agents=3, events=400)
    database = Database(url)
    state = read_status(Settings(ledger={"url": url}), database).state
    with database.read() as connection:
        curves = by_version(gate_accuracies(connection))
    database.close()
    assert [agent.version[:2] for agent in state.agents] == ["v5"] * 3
    assert sum(state.events.values()) == 400
    assert {len(curve) for curve in curves.values()} == {VERSIONS}
