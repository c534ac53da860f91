"""One correction: say what the agent should have answered, and see what became of what you said.

`python examples/01-one-correction.py [AGENT]`, beside a running clorad. One correction changes nothing yet:
the receipt says what it waits for.
"""

import os
import subprocess
import sys
import time

import httpx

from feedback.client import Feedback

GATEWAY = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8080")
AGENT = sys.argv[1] if len(sys.argv) > 1 else "billing-support"
ASK = [{"role": "user", "content": "cancel order 1042"}]
WANTED = '{"tool": "cancel", "order": 1042}'
RECEIPT_S_MAX = 60.0


def clorad(*words: str) -> str | None:
    """What a command prints; None if it fails."""
    command = [sys.executable, "-m", "daemon", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


# 1. Ask the agent, as its users do: the agent's name is the model of OpenAI's API.
answer = httpx.post(
    f"{GATEWAY}/v1/chat/completions", json={"model": AGENT, "messages": ASK}, timeout=60
).raise_for_status()
said = answer.json()["choices"][0]["message"]["content"]
print(f"user     {ASK[0]['content']}")
print(f"agent    {said}   ({AGENT} {answer.headers['x-clorad-version']})")

# 2. Correct it. The call returns once Kafka has the event on every in-sync replica.
with Feedback(GATEWAY, agent=AGENT, author="ann") as feedback:
    sent = feedback.correct(WANTED, rejected=said, messages=ASK, comment="cancelling is not refunding")
print(f"ann      {WANTED}   (event {sent.uid})\n")

# 3. Ask for the receipt. Intake stores the event within a second.
until_s = time.monotonic() + RECEIPT_S_MAX
while (receipt := clorad("receipt", sent.uid)) is None and time.monotonic() < until_s:
    time.sleep(0.5)
print(receipt or "no receipt: does `clorad intake` run, and does this folder have its clorad.toml?")
