"""Measures redaction on a labelled list: the secrets it takes out, the ordinary texts it damages, its speed.

`python -m bench.redaction --json`; the list is `bench/redaction_forms.toml`.
"""

import argparse
import json
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feedback.redaction import Redactor, text_redactor

FORMS = Path(__file__).with_name("redaction_forms.toml")
JOINT = "\u2038"  # parts fake secrets in the file, so that no scanner of repositories takes them for a leak
RECALL_MIN, FALSE_ALARMS_MAX = 0.95, 0.02
_AROUND = ("{}", "before {} after", "first line\n{}\nlast line")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledForm:
    """One text of the list."""

    text: str
    source: str
    is_secret: bool

    @property
    def places(self) -> tuple[str, ...]:
        """The text alone, in a sentence, and on a line of its own."""
        return tuple(around.format(self.text) for around in _AROUND)


def read_forms() -> tuple[LabelledForm, ...]:
    """The list, as it is in the repository."""
    table = tomllib.loads(FORMS.read_text(encoding="utf-8"))
    return tuple(
        LabelledForm(text=row["text"].replace(JOINT, ""), source=row["source"], is_secret=label == "secret")
        for label in ("secret", "ordinary")
        for row in table[label]
    )


def measure(forms: Sequence[LabelledForm], redactor: Redactor) -> dict[str, Any]:
    """Recall over the secrets and false alarms over the ordinary texts, each in three places."""
    changed = {
        (form, place): redactor.text(text, Counter()) != text
        for form in forms
        for place, text in enumerate(form.places)
    }
    secrets = [is_changed for (form, _), is_changed in changed.items() if form.is_secret]
    ordinary = [is_changed for (form, _), is_changed in changed.items() if not form.is_secret]
    return {
        "forms": len(forms),
        "secrets": sum(form.is_secret for form in forms),
        "recall": round(sum(secrets) / len(secrets), 4),
        "false_alarms": round(sum(ordinary) / len(ordinary), 4),
        "missed": sorted(
            {f.source for (f, _), is_changed in changed.items() if f.is_secret and not is_changed}
        ),
        "damaged": sorted(
            {f.text for (f, _), is_changed in changed.items() if not f.is_secret and is_changed}
        ),
    }


def measure_speed(forms: Sequence[LabelledForm], redactor: Redactor, *, repeats: int) -> dict[str, float]:
    """MiB a second of ordinary texts, and how the time of a text grows when it is ten times as long."""
    prose = "\n".join(form.text for form in forms if not form.is_secret) * repeats
    everything = "\n".join(form.text for form in forms)

    def seconds(text: str) -> float:
        begun = time.process_time()
        redactor.text(text, Counter())
        return time.process_time() - begun

    seconds(everything)  # compiles the rules
    short, long = (min(seconds(everything * times) for _ in range(3)) for times in (1, 10))
    return {
        "mib_per_s": round(len(prose.encode()) / 2**20 / seconds(prose), 2),
        "growth_at_10x": round(long / short, 2),
    }


def main() -> None:
    """`python -m bench.redaction [--json]`; exits with 1 where recall or false alarms miss their bounds."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    forms, redactor = read_forms(), text_redactor()
    result = measure(forms, redactor) | measure_speed(forms, redactor, repeats=20)
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:16}{value}")
    if result["recall"] < RECALL_MIN or result["false_alarms"] > FALSE_ALARMS_MAX:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
