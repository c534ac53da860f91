"""Which older answers a newer rule contradicts: somebody approved (or taught) them before the rule was known.

Corrections that change replies of one form in one way are a *rule*. An older answer is outdated by it when
its reply has that form and its prompt meets the rule's conditions, as far as words show them.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from feedback.grouping import normalise
from rewards.likeness import words

RULE_CORRECTIONS_MIN = 5
"""Fewer of one form are a coincidence, not a rule: they outdate only answers to their own prompts."""

_CHANCE_MAX = 0.05  # lower drops near misses after few corrections, higher keeps what is outdated
_CHARS_MAX = 4000  # of each text: bounds the work, whatever people paste


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedReply:
    """A reply somebody held to be right, and when (`seq`: the ledger's order of arrival)."""

    seq: int
    prompt: str
    reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """A reply somebody held to be wrong, and what it should have been."""

    seq: int
    prompt: str
    rejected: str
    corrected: str


Rule = tuple[frozenset[str], frozenset[str]]
"""(form of the rejected replies, words the corrected ones bring in)."""


def outdated(answers: Sequence[ApprovedReply], corrections: Sequence[Corrected]) -> frozenset[int]:
    """Numbers (`seq`) of the answers that newer corrections contradict.

    An answer is outdated if it is older than a correction of the same prompt that wants something else; or
    if it is older than the correction that made a rule one (the `RULE_CORRECTIONS_MIN`th), its reply has the
    form the rule rejects, and its prompt meets all conditions of the rule.

    *Form*: the reply's words that are the agent's own, slots aside. *Conditions*: compare the corrected
    prompts with the prompts of all older answers of that form. A word that every corrected prompt has, or
    that none has, is a condition if so many older prompts differ in it that chance explains it in fewer than
    1 of 20 cases. So `vip` in all corrected prompts spares refunds without it, and `tmp` in none spares
    tables so named.

    Not seen: conditions that are no words (a limit between sums of as many digits, word order); answers of
    the old form given once the rule was one, because whoever gave them could know it and mean an exception;
    and rules that change replies of ever other forms, as in free prose.
    """
    own = _own_words(answers, corrections)
    stale = _same_prompt(answers, corrections)
    by_form: dict[frozenset[str], list[ApprovedReply]] = defaultdict(list)
    for answer in answers:
        by_form[_form(answer.reply, own)].append(answer)
    for (form, _), members in _rules(corrections, own).items():
        if not form or len(members) < RULE_CORRECTIONS_MIN:
            continue  # replies without a word of the agent's own have no form to tell them by
        since = sorted(member.seq for member in members)[RULE_CORRECTIONS_MIN - 1]
        older = {answer.seq: _bag(answer.prompt) for answer in by_form[form] if answer.seq < since}
        required, excluded = _conditions([_bag(member.prompt) for member in members], older.values())
        stale.update(seq for seq, bag in older.items() if required <= bag and not excluded & bag)
    return frozenset(stale)


def rule_of(corrections: Sequence[Corrected]) -> dict[int, Rule]:
    """The rule each correction belongs to, by `seq`: what a fair sample of them takes turns over."""
    own = _own_words((), corrections)
    return {member.seq: rule for rule, members in _rules(corrections, own).items() for member in members}


def _rules(corrections: Iterable[Corrected], own: Collection[str]) -> dict[Rule, list[Corrected]]:
    rules: dict[Rule, list[Corrected]] = defaultdict(list)
    for one in corrections:
        form = _form(one.rejected, own)
        rules[form, _form(one.corrected, own) - form].append(one)
    return rules


def _own_words(answers: Iterable[ApprovedReply], corrections: Iterable[Corrected]) -> frozenset[str]:
    """Words that at least two replies use without finding them in their prompt; the others were copied.

    Two, because a reply that copies its slot wrongly must not make that slot part of a form.
    """
    said = chain(
        ((answer.prompt, answer.reply) for answer in answers),
        ((one.prompt, text) for one in corrections for text in (one.rejected, one.corrected)),
    )
    uses = Counter[str]()
    for prompt, reply in said:
        uses.update(_bag(reply) - _bag(prompt))
    return frozenset(word for word, count in uses.items() if count >= 2 and not word.startswith("#"))


def _form(reply: str, own: Collection[str]) -> frozenset[str]:
    return frozenset(word for word in _bag(reply) if word in own)


def _conditions(
    corrected: Sequence[frozenset[str]], older: Collection[frozenset[str]]
) -> tuple[frozenset[str], frozenset[str]]:
    """Words a prompt must have, and words it must not have, for the rule to fire on it."""
    having = Counter(chain.from_iterable(older))
    in_all = frozenset.intersection(*corrected)
    in_none = frozenset(having).difference(*corrected)
    required = {
        word
        for word in in_all
        if _chance(len(older) - having[word], len(older), len(corrected)) <= _CHANCE_MAX
    }
    excluded = {word for word in in_none if _chance(having[word], len(older), len(corrected)) <= _CHANCE_MAX}
    return frozenset(required), frozenset(excluded)


def _chance(odd: int, older: int, corrected: int) -> float:
    """How probable it is, by chance, that all `odd` prompts are among the `older`, none the `corrected` ones.

    Fisher's exact test, one-sided.
    """
    return math.prod((older - drawn) / (older + corrected - drawn) for drawn in range(odd))


def _same_prompt(answers: Iterable[ApprovedReply], corrections: Iterable[Corrected]) -> set[int]:
    """Answers to the very prompts that were corrected otherwise later."""
    newest: dict[str, Corrected] = {}
    for one in sorted(corrections, key=lambda one: one.seq):
        newest[normalise(one.prompt)] = one
    found = set[int]()
    for answer in answers:
        later = newest.get(normalise(answer.prompt))
        if later and answer.seq < later.seq and _plain(answer.reply) != _plain(later.corrected):
            found.add(answer.seq)
    return found


def _bag(text: str) -> frozenset[str]:
    return frozenset(words(text[-_CHARS_MAX:]))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
