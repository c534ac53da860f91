"""The role that clorad gives an event: to train on, for the gate, or to choose by.

The rule is public: a hash of the conversation's first user message decides, one event in four is for the
gate. The simulated developers use it to give enough feedback of each role.
"""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence

GATE, DEV, TRAIN = "gate", "dev", "train"


def role_of(messages: Sequence[Mapping[str, str]]) -> str:
    """The role that feedback on these messages will have."""
    first = next((message for message in messages if message["role"] == "user"), messages[0])["content"]
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", first).lower())
    group = hashlib.sha256(" ".join(folded.split()).encode()).hexdigest()
    eighth = int(group[:8], 16) % 8
    if eighth < 2:
        return GATE
    return DEV if eighth == 2 else TRAIN
