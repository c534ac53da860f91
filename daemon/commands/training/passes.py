"""`clorad passes`: shows what learners did: passes, failed turns with what followed, delays."""

from rich.console import Console

from daemon.commands.documents.learner_document import LearnerDocument, read_learner
from daemon.commands.ledger import opened
from daemon.console import ago, console, lasting, short, show_json, table
from daemon.settings import Settings


def show_passes(settings: Settings, *, agent: str | None, limit: int, as_json: bool) -> None:
    """Print the newest passes, failures and delays, of all agents or of one."""
    with opened(settings) as database:
        document = read_learner(database, limit=limit, agents=None if agent is None else [agent])
    if as_json:
        show_json(document.to_json())
        return
    if not document.passes:
        console().print("no pass was opened yet")
        return
    _render(document, console())


def _render(document: LearnerDocument, out: Console) -> None:
    rows = table(">PASS", "OPENED", ">SECONDS", ">AGENTS", ">VERSIONS", ">TOKENS", "DEVICE", "AGENTS")
    for each in document.passes:
        rows.add_row(
            str(each.pass_id),
            ago(each.opened_s, document.now_s),
            f"{each.seconds(document.now_s):,.1f}" + ("" if each.closed_s is not None else " so far"),
            str(len(each.turns)),
            str(each.made),
            f"{each.tokens:,}",
            f"{each.form.get('device', '–')} {each.form.get('dtype', '')}".strip(),
            short(", ".join(turn.agent for turn in each.turns), 60),
        )
    out.print(rows)
    if document.failures:
        rows = table(">TURN", "AGENT", "VERSION", "WHAT", "WHY", "FOLLOWED BY")
        for turn in document.failures:
            what = turn.state if turn.verdict is None else turn.verdict
            why = "; ".join(turn.reasons) or turn.reason or "–"
            version = turn.version or f"v{turn.number}"
            rows.add_row(
                str(turn.turn_id), turn.agent, version, what.value, short(why, 60), turn.followed_by or "–"
            )
        out.print()
        out.print(rows)
    if document.delays:
        rows = table("AGENT", "VERSION", ">CORRECTIONS", ">STORED TO LIVE", ">LONGEST", "PARTS")
        for delay in document.delays:
            parts = ", ".join(f"{part} {lasting(taken_s)}" for part, taken_s in delay.parts_s.items())
            rows.add_row(
                delay.agent,
                delay.version,
                f"{delay.corrections:,}",
                lasting(delay.median_s),
                lasting(delay.longest_s),
                parts,
            )
        out.print()
        out.print(rows)
