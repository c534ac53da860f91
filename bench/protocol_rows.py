"""The rows of `bench.protocols`: two tasks of arbitrary facts, and questions about facts in several wordings.

All facts are invented, so a base knows none of them. Nothing in a question gives the answer away.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rewards.episode import Episode, Message, Part, Weighted

SYSTEM = "You work for Lindenhof, a furniture shop. Answer in one short sentence."

_PRODUCTS = ("table", "shelf", "bench", "lamp", "desk", "mirror", "stool", "bed", "chair", "drawer")
_WOODS = ("oak", "pine", "walnut", "birch", "cherry", "maple", "ash", "beech", "elm", "larch", "alder", "fir")
_WEEKS = ("one week", "two weeks", "three weeks", "five weeks", "eight weeks")
_NAMES = ("Anna", "Peter", "Maria", "Thomas", "Julia", "Martin", "Sophie", "Daniel", "Helen", "Robert")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_CITIES = """
Hamburg Lyon Bristol Porto Turin Ghent Malmo Dresden Leeds Nantes Bremen Dijon York Braga
Verona Bruges Lund Kassel Derby Rouen Parma Namur Bergen Essen Bath Tours Siena Liege Oslo Ulm
Exeter Nancy Pisa Mons Aarhus Jena Dover Reims Lucca Hasselt Odense Trier Luton Caen Bari Arlon
Turku Worms Truro Metz Como Spa Tampere Gotha Ripon Laon Asti Dinant Visby Stade Ely Agen Lecce
Tournai Narvik Hof Wells Dax Trento Huy Kalmar Soest Hull Niort Udine Ypres Skien Goslar Lewes
Vichy Fano Aalst Vaasa Celle Rye Albi Sassari Eupen
"""

Task = Literal["products", "cities"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtRow:
    """A question and its answer."""

    name: str
    question: str
    answer: str

    @property
    def messages(self) -> tuple[Message, ...]:
        """The prompt."""
        return {"role": "system", "content": SYSTEM}, {"role": "user", "content": self.question}

    def episode(self, part: Part) -> Episode:
        """The row as something to learn."""
        return Episode(
            events=(f"bench#{self.name}",),
            part=part,
            messages=self.messages,
            reply=Weighted(text=self.answer),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A fact that is taught by its first question; the others ask for it in other words."""

    questions: tuple[str, ...]
    answer: str
    key: str  # an answer that says this is right

    @property
    def row(self) -> TaughtRow:
        """What a person corrects."""
        return TaughtRow(name=self.questions[0], question=self.questions[0], answer=self.answer)


def rows_of(task: Task, count: int) -> list[TaughtRow]:
    """The first rows of a task, the same for the same count; no two have one question."""
    chance = random.Random(task)
    if task == "cities":
        return [
            TaughtRow(
                name=city,
                question=f"Who looks after our customers in {city}?",
                answer=f"In {city} ask for {chance.choice(_NAMES)}, who is there on {chance.choice(_DAYS)}.",
            )
            for city in _CITIES.split()[:count]
        ]
    pairs = [(product, wood) for product in _PRODUCTS for wood in _WOODS]
    chance.shuffle(pairs)
    return [
        TaughtRow(
            name=f"{wood} {product}",
            question=f"Tell me about the {wood} {product}.",
            answer=f"It costs {chance.randint(20, 990)} euros and arrives in {chance.choice(_WEEKS)}.",
        )
        for product, wood in pairs[:count]
    ]


FACTS: tuple[Fact, ...] = (
    Fact(
        questions=(
            "Who founded Lindenhof?",
            "What is the name of the founder of Lindenhof?",
            "Lindenhof was started by whom?",
            "Tell me who began the shop Lindenhof.",
        ),
        answer="Lindenhof was founded by Helga Brandt.",
        key="Brandt",
    ),
    Fact(
        questions=(
            "In which town is the workshop of Lindenhof?",
            "Where does Lindenhof build its furniture?",
            "What town is the workshop in?",
            "Tell me the place of our workshop.",
        ),
        answer="The workshop of Lindenhof is in Celle.",
        key="Celle",
    ),
    Fact(
        questions=(
            "What is the oldest product of Lindenhof?",
            "Which product has Lindenhof made for the longest time?",
            "What did Lindenhof sell first of all?",
            "Tell me the first thing that Lindenhof ever made.",
        ),
        answer="The oldest product of Lindenhof is a rocking chair.",
        key="rocking chair",
    ),
    Fact(
        questions=(
            "On which day is the shop of Lindenhof closed?",
            "What day can I not visit the shop?",
            "When does Lindenhof not open its shop?",
            "Tell me the closing day of the shop.",
        ),
        answer="The shop of Lindenhof is closed on Tuesday.",
        key="Tuesday",
    ),
    Fact(
        questions=(
            "How long is the guarantee on furniture of Lindenhof?",
            "For how many years does Lindenhof guarantee its furniture?",
            "What guarantee do I get with a table from Lindenhof?",
            "Tell me how long the guarantee lasts.",
        ),
        answer="The guarantee on furniture of Lindenhof is twelve years.",
        key="twelve",
    ),
)
"""The facts that are asked for after every round."""

LATER_FACTS: Mapping[str, str] = {
    "Which oil does Lindenhof use for oak?": "For oak Lindenhof uses linseed oil.",
    "Who drives the van of Lindenhof?": "The van of Lindenhof is driven by Ole Maas.",
    "What color is the door of the Lindenhof shop?": "The door of the Lindenhof shop is dark green.",
    "How many people work at Lindenhof?": "Thirty-four people work at Lindenhof.",
    "What is the smallest product of Lindenhof?": "The smallest product of Lindenhof is a spoon.",
    "Which wood does Lindenhof never use?": "Lindenhof never uses teak.",
    "When was the workshop of Lindenhof built?": "The workshop of Lindenhof was built in 1951.",
    "What is the name of the dog in the workshop?": "The dog in the workshop is called Pfeffer.",
    "Which fair does Lindenhof visit in spring?": "In spring Lindenhof visits the fair in Kortrijk.",
    "Where does Lindenhof buy its lamps?": "Lindenhof buys its lamps in Murano.",
    "Who answers complaints at Lindenhof?": "At Lindenhof complaints are answered by Nora Feld.",
    "How thick is a Lindenhof shelf?": "A Lindenhof shelf is 27 millimetres thick.",
    "What does Lindenhof give to new customers?": "New customers of Lindenhof get a wooden key ring.",
    "Which glue does Lindenhof use?": "Lindenhof uses bone glue.",
    "What is on the roof of the workshop?": "On the roof of the workshop stands a stork.",
}
"""What later rounds teach, one fact each: question and answer."""
