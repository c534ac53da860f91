"""Roll back: two people teach a rule, a version follows it, and one command takes the version back.

`python examples/04-roll-back.py [AGENT]`, beside a running clorad. What the version was taught is held then:
nothing is trained on it again before a person decides. On a real base this takes some minutes.
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
VERSION_S_MAX, FOLLOW_S_MAX = 1800.0, 30.0
NEVER_TAUGHT = "cancel order 7"


def ask(prompt: str) -> tuple[str, str]:
    """The agent's answer to one question, and the version that gave it."""
    request = {"model": AGENT, "messages": [{"role": "user", "content": prompt}]}
    answer = httpx.post(f"{GATEWAY}/v1/chat/completions", json=request, timeout=60).raise_for_status()
    return answer.json()["choices"][0]["message"]["content"], answer.headers["x-clorad-version"]


def wait_for_another_version(before: str, *, wait_s_max: float) -> str:
    """The version that answers, once it is another one."""
    until_s = time.monotonic() + wait_s_max
    while (version := ask(NEVER_TAUGHT)[1]) == before:
        if time.monotonic() > until_s:
            sys.exit(f"{before} still answers: `clorad status` says what the agent waits for")
        time.sleep(0.5)
    return version


# 1. Two people correct the same thing in many places.
before = ask(NEVER_TAUGHT)
with Feedback(GATEWAY, agent=AGENT) as feedback:
    for order in range(1000, 1056):
        asked = [{"role": "user", "content": f"cancel order {order}"}]
        wanted = json.dumps({"tool": "cancel", "order": order})
        feedback.correct(wanted, rejected="Sure!", messages=asked, author=("ann", "bob")[order % 2])
print(f"{before[1]}  {NEVER_TAUGHT}: {before[0]}\n56 corrections by two people are sent")

# 2. A version learns it, passes the gate, and answers.
learned = wait_for_another_version(before[1], wait_s_max=VERSION_S_MAX)
print(f"{learned}  {NEVER_TAUGHT}: {ask(NEVER_TAUGHT)[0]}")

# 3. Take it back. Gateways follow within a second; the reason is stored with the decision.
subprocess.run(
    [sys.executable, "-m", "daemon", "rollback", AGENT, "--reason", "shown by an example"], check=True
)
again = wait_for_another_version(learned, wait_s_max=FOLLOW_S_MAX)
print(f"{again}  {NEVER_TAUGHT}: {ask(NEVER_TAUGHT)[0]}")
subprocess.run([sys.executable, "-m", "daemon", "versions", AGENT], check=True)
