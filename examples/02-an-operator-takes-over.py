"""An operator takes over: a conversation goes wrong, a person ends it, and the agent can learn from that.

`python examples/02-an-operator-takes-over.py [AGENT]`, beside a running clorad. With `capture = true` the
agent's own turns before the takeover count against it too; without, only the operator's turns teach.
"""

import os
import subprocess
import sys
import time
import uuid

import httpx

from feedback.client import Feedback

GATEWAY = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8080")
AGENT = sys.argv[1] if len(sys.argv) > 1 else "billing-support"
TALK = {"x-clorad-conversation": f"talk-{uuid.uuid4()}"}
RECEIPT_S_MAX = 60.0
messages: list[dict[str, str]] = []


def clorad(*words: str) -> str | None:
    """What a command prints; None if it fails."""
    command = [sys.executable, "-m", "daemon", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


# 1. A user talks to the agent. The header names the conversation, so that its turns belong together.
for question in ("my parcel 77 is late", "no, I asked where it is"):
    messages.append({"role": "user", "content": question})
    request = {"model": AGENT, "messages": messages}
    answer = httpx.post(f"{GATEWAY}/v1/chat/completions", json=request, headers=TALK, timeout=60)
    messages.append(answer.raise_for_status().json()["choices"][0]["message"])
    print(f"user      {question}\nagent     {messages[-1]['content']}")

# 2. The user asks again, and an operator answers in the agent's place.
messages.append({"role": "user", "content": "can I talk to somebody?"})
turns = [
    {"role": "assistant", "content": "Parcel 77 is in Lyon. It arrives tomorrow."},
    {"role": "user", "content": "thank you"},
    {"role": "assistant", "content": "You are welcome."},
]
print(f"user      {messages[-1]['content']}")
for turn in turns:
    print(f"{'operator' if turn['role'] == 'assistant' else 'user':9} {turn['content']}")

# 3. Say so: the messages before the takeover, and the turns from then on.
reason, talk = "it did not say where the parcel is", TALK["x-clorad-conversation"]
with Feedback(GATEWAY, agent=AGENT, author="olga") as feedback:
    sent = feedback.take_over(turns, reason=reason, messages=messages, conversation=talk, turn=2)

until_s = time.monotonic() + RECEIPT_S_MAX
while (receipt := clorad("receipt", sent.uid)) is None and time.monotonic() < until_s:
    time.sleep(0.5)
print(f"\n{receipt or 'no receipt: does `clorad intake` run, and does this folder have its clorad.toml?'}")
