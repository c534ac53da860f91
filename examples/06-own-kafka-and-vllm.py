"""Your own Kafka and vLLM: settings, topics, all roles, one question and one correction; then it stops again.

`KAFKA_BOOTSTRAP=host:9092 VLLM_URL=http://host:8000 python examples/06-own-kafka-and-vllm.py BASE`; BASE is
the directory of the model that this vLLM serves, further options go to `clorad run`. It leaves a folder
`own-clorad` with `clorad.toml` and the ledger, in which `clorad run` goes on.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx

from feedback.client import Feedback

if len(sys.argv) < 2 or not {"KAFKA_BOOTSTRAP", "VLLM_URL"} <= os.environ.keys():
    sys.exit(str(__doc__))
FOLDER, PORT, READY_S_MAX = Path("own-clorad"), int(os.environ.get("PORT", "8080")), 120.0
GATEWAY = f"http://127.0.0.1:{PORT}"
ASK = [{"role": "user", "content": "cancel order 1042"}]
CLORAD = [sys.executable, "-m", "daemon"]


def is_ready() -> bool:
    """Whether the gateway lists the agent."""
    try:
        listed = httpx.get(f"{GATEWAY}/v1/models", timeout=5).json().get("data", ())
    except (httpx.TransportError, ValueError):
        return False
    return any(model["id"] == "assistant" for model in listed)


# 1. These settings are enough; `clorad config` prints all others with their reasons.
FOLDER.mkdir(exist_ok=True)
(FOLDER / "clorad.toml").write_text(f"""kafka.bootstrap_servers = "{os.environ["KAFKA_BOOTSTRAP"]}"
engine.base = "{Path(sys.argv[1]).resolve()}"
fleet.replicas = ["{os.environ["VLLM_URL"]}"]
gateway.port = {PORT}
agents.assistant.capture = true
""")

# 2. Topics once, then the four roles in one process tree; Ctrl-C or SIGTERM stops all of them.
subprocess.run([*CLORAD, "topics", "create"], cwd=FOLDER, check=True)
roles = subprocess.Popen([*CLORAD, "run", *sys.argv[2:]], cwd=FOLDER)
try:
    until_s = time.monotonic() + READY_S_MAX
    while not is_ready() and time.monotonic() < until_s and roles.poll() is None:
        time.sleep(0.5)
    # 3. Users talk to the gateway; people say what should have been answered.
    request = {"model": "assistant", "messages": ASK}
    answer = httpx.post(f"{GATEWAY}/v1/chat/completions", json=request, timeout=60).raise_for_status()
    with Feedback(GATEWAY, agent="assistant", author="ann") as feedback:
        sent = feedback.correct("cancel(1042)", interaction=answer.headers["x-clorad-interaction"])
    print(f"{answer.headers['x-clorad-version']} answered; the correction is {sent.uid}")
    subprocess.run([*CLORAD, "status"], cwd=FOLDER, check=True)
finally:
    roles.terminate()
    roles.wait()
