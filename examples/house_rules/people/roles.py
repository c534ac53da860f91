"""Which events clorad judges by: public knowledge, so that a developer can see to it that there are enough.

The role of a piece of feedback is a hash of the conversation's first user message (one in four: gate).
"""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence

GATE, DEV, TRAIN = "gate", "dev", "train"


def role_of(messages: Sequence[Mapping[str, str]]) -> str:
    """The role that feedback on these messages will have."""
    first = next((one for one in messages if one["role"] == "user"), messages[0])["content"]
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", first).lower())
    group = hashlib.sha256(" ".join(folded.split()).encode()).hexdigest()
    eighth = int(group[:8], 16) % 8
    if eighth < 2:
        return GATE
    return DEV if eighth == 2 else TRAIN
