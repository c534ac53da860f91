"""A bad batch: two careless people teach nonsense, and the gate refuses the version that learned it.

`python examples/03-a-bad-batch.py [AGENT]`, beside a running clorad. The batch says `done` to whatever is
asked; what two other people approved before shows the harm. On a real base this takes some minutes.
"""

import json
import os
import subprocess
import sys
import time

import httpx

from feedback.client import Feedback

GATEWAY = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8080")
AGENT = sys.argv[1] if len(sys.argv) > 1 else "billing-support"
VERDICT_S_MAX = 1800.0
TOWNS = ["Lyon", "Oslo", "Bern", "Riga", "Bonn", "Nice", "Cork", "Brno", "Pisa", "Graz", "Bath", "Gent"]


def ask(prompt: str) -> tuple[list[dict[str, str]], str]:
    """The agent's answer to one question, and the messages it was asked by."""
    messages = [{"role": "user", "content": prompt}]
    request = {"model": AGENT, "messages": messages}
    answer = httpx.post(f"{GATEWAY}/v1/chat/completions", json=request, timeout=60).raise_for_status()
    return messages, answer.json()["choices"][0]["message"]["content"]


def versions() -> list[dict[str, object]]:
    """The agent's versions, newest first."""
    command = [sys.executable, "-m", "daemon", "versions", AGENT, "--json"]
    listed: list[dict[str, object]] = json.loads(subprocess.check_output(command))
    return listed


known = len(versions())
with Feedback(GATEWAY, agent=AGENT) as feedback:
    # 1. Two people say which answers are right: these must stay as they are.
    for number, town in enumerate([*TOWNS, *(f"New {town}" for town in TOWNS)]):
        messages, said = ask(f"weather in {town}")
        feedback.approve(said=said, messages=messages, author=("ann", "bob")[number % 2])
    # 2. Two other people correct everything to the same word.
    for number in range(48):
        messages, said = ask(f"cancel order {1000 + number}")
        feedback.correct("done", rejected=said, messages=messages, author=("carl", "dora")[number % 2])
print(f"24 answers approved, 48 corrected to `done`; {AGENT} learns, and the gate asks old and new version")

# 3. The version that learned it is judged on prompts that were never trained on.
until_s = time.monotonic() + VERDICT_S_MAX
while not any(version["verdict"] for version in versions()[: -known or None]):
    if time.monotonic() > until_s:
        sys.exit("no verdict yet: `clorad status` says what the agent waits for")
    time.sleep(2.0)
subprocess.run([sys.executable, "-m", "daemon", "versions", AGENT], check=True)
print(f"weather in Lyon: {ask('weather in Lyon')[1]}")
