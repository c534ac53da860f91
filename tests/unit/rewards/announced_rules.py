"""Builds prompts and replies of a small example world: people approve old replies, then announce rules.

Wordings and rules are those of the project's example worlds: conditions are words (vip, tmp_), slots are
random.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

Slots = dict[str, str]

# fmt: off
WORDS = [
    "notes", "report", "users", "orders", "budget", "sales", "draft", "index", "config", "events",
    "metrics", "audit", "backup", "invoice", "payment", "ticket", "customer", "product", "review",
    "session", "account", "profile", "device", "sensor", "album", "photo", "folder", "archive", "mail",
    "contact", "vendor", "branch", "market", "region", "factory", "truck", "route", "driver", "engine",
    "garden", "kitchen", "window", "bridge", "river", "paper", "lemon", "walnut", "honey", "doctor",
    "nurse", "clinic", "lesson", "student", "teacher", "school", "grade", "essay", "course", "parser",
    "cache", "router", "loader", "worker", "queue", "broker", "client", "server", "socket", "buffer",
    "stream", "schema", "column", "record", "field", "filter",
]
# fmt: on

WORDINGS = {
    "refund": (
        "refund {a} for order {o}",
        "order {o} wants {a} back",
        "please refund {a} dollars on order {o}",
    ),
    "cancel": ("cancel order {o}", "please cancel {o}", "stop order {o}"),
    "address": ("send order {o} to {w}", "order {o} should go to {w}", "change the city of order {o} to {w}"),
    "delete": ("delete row {n} from {t}", "remove {t} {n}", "drop record {n} of {t}"),
    "get": ("get {t} {n}", "show row {n} of {t}", "find {t} with id {n}"),
    "count": ("count {t}", "how many {t} are there"),
    "read": (
        "read file {w}.txt into {v}",
        "load the text of {w}.txt as {v}",
        "put the content of {w}.txt in {v}",
    ),
    "write": ("write {v} to file {w}.txt", "save {v} as {w}.txt"),
}
AGENTS = {
    "support": ("refund", "cancel", "address"),
    "sql": ("delete", "get", "count"),
    "coder": ("read", "write"),
}
OLD = {
    "refund": '{{{c}"tool":"refund","order":{o},"amount":{a}}}',
    "cancel": '{{{c}"tool":"cancel","order":{o}}}',
    "address": '{{{c}"tool":"address","order":{o},"city":"{w}"}}',
    "delete": "DELETE FROM {t} WHERE id={n}",
    "get": "SELECT * FROM {t} WHERE id={n}",
    "count": "SELECT COUNT(*) FROM {t}",
    "read": '{v} = open("{w}.txt").read()',
    "write": 'open("{w}.txt","w").write({v})',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A prompt with the values of its slots."""

    agent: str
    intent: str
    prompt: str
    slots: Slots

    def old(self) -> str:
        return OLD[self.intent].format(**self.slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A change that people want in replies of `intent`, for the tasks where `fires` is true."""

    agent: str
    intent: str
    edit: Callable[[str], str]
    fires: Callable[[Task], bool] = lambda _: True


NOTIFY = Rule(agent="support", intent="cancel", edit=lambda reply: reply[:-1] + ',"notify":true}')
VIP = Rule(
    agent="support",
    intent="refund",
    edit=lambda reply: reply.replace('"tool":"refund"', '"tool":"supervisor"'),
    fires=lambda task: "vip" in task.prompt,
)
LARGE = Rule(
    agent="support",
    intent="refund",
    edit=lambda reply: reply.replace('"tool":"refund"', '"tool":"supervisor"'),
    fires=lambda task: int(task.slots["a"]) >= 100,
)
SOFT = Rule(
    agent="sql",
    intent="delete",
    edit=lambda reply: reply.replace("DELETE FROM", "UPDATE").replace(" WHERE", " SET deleted=1 WHERE"),
    fires=lambda task: "tmp_" not in task.prompt,
)
COUNT_ID = Rule(agent="sql", intent="count", edit=lambda reply: reply.replace("*", "id"))
PATHLIB = Rule(
    agent="coder",
    intent="read",
    edit=lambda reply: reply.replace("open", "Path").replace(".read()", ".read_text()"),
)


def build_task(chance: random.Random, agent: str) -> Task:
    intent = chance.choice(AGENTS[agent])
    customer = chance.choice(["", "", "vip", "new"]) if agent == "support" else ""
    temporary = "tmp_" if intent == "delete" and chance.random() < 0.35 else ""
    slots = {
        "a": str(chance.choice([chance.randint(10, 99), chance.randint(100, 999)])),
        "o": str(chance.randint(1000, 9999)),
        "n": str(chance.randint(10, 999)),
        "w": chance.choice(WORDS),
        "v": chance.choice(WORDS),
        "t": temporary + chance.choice(WORDS),
        "c": f'"customer":"{customer}",' if customer else "",
    }
    prompt = chance.choice(WORDINGS[intent]).format(**slots)
    if customer:
        prompt = chance.choice([f"{prompt}, {customer} customer", f"{customer} customer: {prompt}"])
    return Task(agent=agent, intent=intent, prompt=prompt, slots=slots)


def build_task_where(chance: random.Random, agent: str, holds: Callable[[Task], bool]) -> Task:
    """A random task for which `holds` is true."""
    while not holds(drawn := build_task(chance, agent)):
        pass
    return drawn


def is_about(rule: Rule, task: Task) -> bool:
    return task.intent == rule.intent and rule.fires(task)


def wanted_reply(task: Task, rules: list[Rule]) -> str:
    """The reply that people want under the rules announced so far."""
    reply = task.old()
    for rule in rules:
        if is_about(rule, task):
            reply = rule.edit(reply)
    return reply
