"""Finds older answers that a newer rule contradicts: people approved or taught them before the rule.

Corrections that change replies of one form in one way are a *rule*. The rule outdates an older answer if the
answer has that form and its prompt meets the rule's conditions, as far as words show them.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from feedback.grouping import normalise
from rewards.similarity import words

RULE_CORRECTIONS_MIN = 5
"""Fewer corrections of one form are not a rule: they outdate only answers to their own prompts."""

_CHANCE_MAX = 0.05  # a lower value drops valid answers after few corrections, a higher keeps outdated ones
_CHARS_MAX = 4000  # of each text: bounds the work, whatever people paste


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedReply:
    """A reply that a person approved; `seq` is its place in the ledger's order of arrival."""

    seq: int
    prompt: str
    reply: str
    author: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """A reply that a person rejected, and the reply that it should have been."""

    seq: int
    prompt: str
    rejected: str
    corrected: str
    author: str | None = None  # None: one author is enough for this correction


Rule = tuple[frozenset[str], frozenset[str]]
"""(form of the rejected replies, words that the corrected replies add)."""


def outdated(
    answers: Sequence[ApprovedReply],
    corrections: Sequence[Corrected],
    *,
    witnesses: Sequence[ApprovedReply] = (),
) -> frozenset[int]:
    """Numbers (`seq`) of the answers that newer corrections contradict.

    An answer is outdated if it is older than a correction of the same prompt that wants another reply. It is
    also outdated if it is older than the correction that established a rule (the `RULE_CORRECTIONS_MIN`th),
    its reply has the form that the rule rejects, and its prompt meets all conditions of the rule. All of this
    must hold as well when the corrections of any one author are left out: no single person establishes a
    rule, or widens it. And a rule outdates nothing where more people approved what it contradicts, among the
    `witnesses`, than stand behind it: such a rule waits for others, or for a person who decides.

    *Form*: the reply's own words, without those copied from the prompt. *Conditions*: compare the corrected
    prompts with the prompts of all older answers of that form. A word that every corrected prompt has, or
    that none has, is a condition if so many older prompts differ in it that chance explains it in fewer than
    1 of 20 cases. For example, if all corrected prompts contain `vip`, refunds without it stay valid; if none
    contains `tmp`, tables with it in their name stay valid.

    Not detected: conditions that are no words (a limit between amounts of equally many digits, word order);
    answers of the old form that people approved after the rule was established, because they may know the
    rule and mean an exception; and rules whose replies always have other forms, as in free prose.
    """
    own = _own_words(answers, corrections)
    outdated_seqs = _same_prompt(answers, corrections)
    by_form: dict[frozenset[str], list[ApprovedReply]] = defaultdict(list)
    for answer in answers:
        by_form[_form(answer.reply, own)].append(answer)
    for (form, _), members in _rules(corrections, own).items():
        parts = _without_each_author(members)
        if not form or min(map(len, parts)) < RULE_CORRECTIONS_MIN:
            continue  # replies without own words have no form
        since = max(sorted(member.seq for member in part)[RULE_CORRECTIONS_MIN - 1] for part in parts)
        older = {answer.seq: _bag(answer.prompt) for answer in by_form[form] if answer.seq < since}
        conditions = [_conditions([_bag(member.prompt) for member in part], older.values()) for part in parts]
        behind = {member.author for member in members}
        against = {
            witness.author
            for witness in witnesses
            if witness.seq < since
            and _form(witness.reply, own) == form
            and _meets(_bag(witness.prompt), conditions)
        }
        if None in behind or len(against - behind) <= len(behind):
            outdated_seqs |= {seq for seq, bag in older.items() if _meets(bag, conditions)}
    return frozenset(outdated_seqs)


def rule_of(corrections: Sequence[Corrected]) -> dict[int, Rule]:
    """The rule of each correction, by `seq`; a fair sample draws from each rule in turn."""
    own = _own_words((), corrections)
    return {member.seq: rule for rule, members in _rules(corrections, own).items() for member in members}


def _without_each_author(members: Sequence[Corrected]) -> Sequence[Sequence[Corrected]]:
    """The corrections without those of each author in turn; all of them if one author is enough for each."""
    authors = {member.author for member in members} - {None}
    return [[member for member in members if member.author != author] for author in authors] or [members]


def _rules(corrections: Iterable[Corrected], own: Collection[str]) -> dict[Rule, list[Corrected]]:
    rules: dict[Rule, list[Corrected]] = defaultdict(list)
    for correction in corrections:
        form = _form(correction.rejected, own)
        rules[form, _form(correction.corrected, own) - form].append(correction)
    return rules


def _own_words(answers: Iterable[ApprovedReply], corrections: Iterable[Corrected]) -> frozenset[str]:
    """Words that at least two replies use although their prompts lack them; other words were copied.

    At least two, because one reply may copy a word of its prompt wrongly; that word is no part of a form. All
    replies in one author's corrections count as one, so that nobody can widen forms alone.
    """
    uses = Counter[str]()
    by_author: dict[str, set[str]] = defaultdict(set)
    for answer in answers:
        uses.update(_bag(answer.reply) - _bag(answer.prompt))
    for correction in corrections:
        for text in (correction.rejected, correction.corrected):
            added = _bag(text) - _bag(correction.prompt)
            if correction.author is None:
                uses.update(added)
            else:
                by_author[correction.author] |= added
    for used in by_author.values():
        uses.update(used)
    return frozenset(word for word, count in uses.items() if count >= 2 and not word.startswith("#"))


def _form(reply: str, own: Collection[str]) -> frozenset[str]:
    return frozenset(word for word in _bag(reply) if word in own)


def _conditions(
    corrected: Sequence[frozenset[str]], older: Collection[frozenset[str]]
) -> tuple[frozenset[str], frozenset[str]]:
    """Words that a prompt must have, and words it must not have, for the rule to apply."""
    prompts_with = Counter(chain.from_iterable(older))
    in_all = frozenset.intersection(*corrected)
    in_none = frozenset(prompts_with).difference(*corrected)
    required = {
        word
        for word in in_all
        if _chance(len(older) - prompts_with[word], len(older), len(corrected)) <= _CHANCE_MAX
    }
    excluded = {
        word for word in in_none if _chance(prompts_with[word], len(older), len(corrected)) <= _CHANCE_MAX
    }
    return frozenset(required), frozenset(excluded)


def _meets(prompt: frozenset[str], conditions: Iterable[tuple[frozenset[str], frozenset[str]]]) -> bool:
    return all(required <= prompt and not excluded & prompt for required, excluded in conditions)


def _chance(odd: int, older: int, corrected: int) -> float:
    """The probability that, by chance, all `odd` prompts are older ones and none is a corrected one.

    Fisher's exact test, one-sided.
    """
    return math.prod((older - drawn) / (older + corrected - drawn) for drawn in range(odd))


def _same_prompt(answers: Iterable[ApprovedReply], corrections: Iterable[Corrected]) -> set[int]:
    """Answers to prompts that were corrected later, to another reply."""
    newest: dict[str, Corrected] = {}
    for correction in sorted(corrections, key=lambda correction: correction.seq):
        newest[normalise(correction.prompt)] = correction
    outdated_seqs = set[int]()
    for answer in answers:
        later = newest.get(normalise(answer.prompt))
        if later and answer.seq < later.seq and _plain(answer.reply) != _plain(later.corrected):
            outdated_seqs.add(answer.seq)
    return outdated_seqs


def _bag(text: str) -> frozenset[str]:
    return frozenset(words(text[-_CHARS_MAX:]))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
