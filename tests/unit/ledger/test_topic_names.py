"""Each topic's name stands once in the code."""

from ledger import topic_names
from tests.unit.test_house import STAGES, python_files


def test_no_other_module_spells_a_topic_name() -> None:
    names = {value for name, value in vars(topic_names).items() if name.endswith("_TOPIC")}
    assert len(names) == 4
    spelled = [
        f"{path.name}: {name}"
        for path in python_files(*STAGES)
        for name in names
        if path.name != "topic_names.py" and f'"{name}"' in path.read_text()
    ]
    assert spelled == []
