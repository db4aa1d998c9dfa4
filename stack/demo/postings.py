"""Job postings made from a seed.

Every fact about a posting is a hash of the seed, the site, the posting's number and the fact's own name. Nothing depends on
the order in which postings are asked for, and a new fact leaves the old ones as they were. Companies are invented.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Draw:
    """Repeatable chance: the same key and name always give the same number."""

    key: str

    def share(self, name: str) -> float:
        """A number in [0, 1), evenly spread over names."""
        digest = hashlib.blake2b(f"{self.key}/{name}".encode(), digest_size=8).digest()
        return (int.from_bytes(digest, "big") >> 11) / (1 << 53)

    def pick(self, name: str, choices: Sequence[T]) -> T:
        """One of `choices`, each as likely as the other."""
        return choices[int(self.share(name) * len(choices))]

    def between(self, name: str, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.share(name)


@dataclass(frozen=True)
class Place:
    """Where a job is, what it is paid in, and how its pay compares with the first place of the list."""

    city: str
    region: str
    country: str
    currency: str
    sign: str
    pay: float


@dataclass(frozen=True)
class Role:
    """A kind of job: its title, its skills, and its pay in USD a year for someone without a rank in the title."""

    title: str
    skills: tuple[str, ...]
    low: int
    high: int


@dataclass(frozen=True)
class Salary:
    """What a posting says about pay: `minimum` to `maximum` in `currency` per `unit` (YEAR, MONTH, DAY or HOUR).

    With `text` the page says it in words alone.
    """

    minimum: float
    maximum: float
    currency: str
    unit: str
    text: str | None = None


@dataclass(frozen=True)
class Posting:
    """One posting as its page shows it. What its site leaves out is None or empty."""

    number: int
    title: str
    company: str | None
    place: Place
    remote: bool
    employment_type: str
    salary: Salary | None
    skills: tuple[str, ...]
    posted_on: date | None
    description: str | None
    malformed: bool
    """The page's JSON-LD is cut off, as pages assembled from templates sometimes are."""

    def matches(self, query: str, location: str) -> bool:
        """Whether each word of `query` is in the title or skills, and `location` (empty: anywhere) names its place."""
        haystack = " ".join((self.title, *self.skills)).lower()
        where = f"{self.place.city} {self.place.country}{' remote' if self.remote else ''}".lower()
        return all(word in haystack for word in query.lower().split()) and all(
            word in where for word in location.lower().replace(",", " ").split()
        )


@dataclass(frozen=True)
class Quality:
    """How good a site's postings are, as shares of all its postings."""

    duplicates: float = 0.0
    malformed: float = 0.0
    missing: Mapping[str, float] = field(default_factory=dict)
    """Share left out, by field: company, salary, skills, posted_on, description."""


# The currencies' rates and the places' pay levels are rough, round and only here to make the spread look natural.
PLACES = (
    Place("Austin", "TX", "US", "USD", "$", 1.0),
    Place("Chicago", "IL", "US", "USD", "$", 1.02),
    Place("London", "England", "GB", "GBP", "£", 0.62),
    Place("Berlin", "BE", "DE", "EUR", "€", 0.66),
    Place("Amsterdam", "NH", "NL", "EUR", "€", 0.68),
    Place("Toronto", "ON", "CA", "CAD", "CA$", 1.05),
    Place("Zürich", "ZH", "CH", "CHF", "CHF ", 1.1),
    Place("Kraków", "MA", "PL", "PLN", "zł ", 1.9),
)
ROLES = (
    Role("Python Developer", ("Python", "Django", "PostgreSQL", "Docker", "pytest", "AWS"), 95_000, 135_000),
    Role("Data Engineer", ("Python", "SQL", "Spark", "Airflow", "dbt", "Kafka"), 105_000, 150_000),
    Role("Data Analyst", ("SQL", "Excel", "Tableau", "Python", "Statistics"), 65_000, 95_000),
    Role("Machine Learning Engineer", ("Python", "PyTorch", "MLOps", "Kubernetes", "SQL"), 125_000, 180_000),
    Role("Frontend Engineer", ("TypeScript", "React", "CSS", "Accessibility", "GraphQL"), 95_000, 140_000),
    Role(
        "Platform Engineer", ("Kubernetes", "Terraform", "Go", "Linux", "AWS", "Prometheus"), 115_000, 160_000
    ),
    Role("Penetration Tester", ("Burp Suite", "Linux", "Python", "Networking"), 90_000, 140_000),
    Role("QA Engineer", ("Playwright", "Python", "CI/CD", "SQL"), 75_000, 110_000),
    Role("Product Manager", ("Roadmapping", "SQL", "Figma", "Stakeholder management"), 105_000, 155_000),
    Role("Registered Nurse", ("Patient care", "Triage", "BLS", "Electronic records"), 68_000, 98_000),
    Role("Electrician", ("Wiring", "PLC", "Blueprint reading", "Safety"), 52_000, 84_000),
    Role("Warehouse Supervisor", ("WMS", "Forklift", "Scheduling", "Safety"), 46_000, 68_000),
)
RANKS = (("Junior ", 0.75), ("", 1.0), ("", 1.0), ("Senior ", 1.25), ("Lead ", 1.4), ("Principal ", 1.6))
UNITS = ("YEAR",) * 6 + ("HOUR", "HOUR", "DAY", "MONTH")
PER_YEAR = {"YEAR": 1, "MONTH": 12, "DAY": 230, "HOUR": 2080}
ROUNDED_TO = {"YEAR": 1000, "MONTH": 50, "DAY": 10, "HOUR": 0.5}
COMPANY_STEMS = (
    "Alder", "Bramble", "Cinder", "Dapple", "Ember", "Fennel", "Gorse", "Heather", "Inglenook", "Juniper", "Kestrel",
    "Larch", "Marl", "Nettle", "Osier", "Plover", "Quill", "Rowan", "Sorrel", "Tansy", "Umber", "Vetch", "Willet", "Yarrow",
)  # fmt: skip
COMPANY_KINDS = (
    "fold Systems",
    "brook Health",
    "gate Logistics",
    "wick Analytics",
    "mere Energy",
    "stow Labs",
    "ley Retail",
)
WORK = (
    "You will own a part of the product from the first sketch to the pager.",
    "You will keep what runs running, and make it a little simpler each week.",
    "You will work with colleagues in three time zones and write things down.",
    "You will turn vague wishes into small steps that ship.",
    "You will teach what you know and ask about what you do not.",
)


def posting(seed: int, site: str, number: int, *, quality: Quality, today: date) -> Posting:
    """Posting `number` of `site`; `today` is the date its age counts back from (at most 45 days)."""
    draw = Draw(f"{seed}/{site}/{number}")
    if number > 40 and draw.share("is a copy") < quality.duplicates:
        original = posting(
            seed, site, number - 1 - int(draw.between("of", 0, 30)), quality=quality, today=today
        )
        return replace(original, number=number)

    role, place = draw.pick("role", ROLES), draw.pick("place", PLACES)
    rank, raise_ = draw.pick("rank", RANKS)
    skills = tuple(skill for skill in role.skills if draw.share(f"skill {skill}") < 0.7) or role.skills[:2]
    company = draw.pick("company", COMPANY_STEMS) + draw.pick("kind of company", COMPANY_KINDS)
    work = " ".join(dict.fromkeys(draw.pick(f"work {n}", WORK) for n in range(3)))

    def kept(name: str, value: T) -> T | None:
        return None if draw.share(f"without {name}") < quality.missing.get(name, 0.0) else value

    return Posting(
        number=number,
        title=rank + role.title,
        company=kept("company", company),
        place=place,
        remote=draw.share("remote") < 0.25,
        employment_type=draw.pick(
            "type", ("FULL_TIME",) * 6 + ("PART_TIME", "CONTRACTOR", "CONTRACTOR", "INTERN")
        ),
        salary=kept("salary", _salary(draw, role, place, raise_)),
        skills=kept("skills", skills) or (),
        posted_on=kept("posted_on", today - timedelta(days=int(draw.between("age", 0, 46)))),
        description=kept(
            "description", f"{company} is looking for a {rank.lower()}{role.title.lower()}. {work}"
        ),
        malformed=draw.share("malformed") < quality.malformed,
    )


def _salary(draw: Draw, role: Role, place: Place, raise_: float) -> Salary:
    unit = draw.pick("salary unit", UNITS)
    scale = raise_ * place.pay / PER_YEAR[unit] * draw.between("salary level", 0.9, 1.1)
    step = ROUNDED_TO[unit]
    low, high = (round(amount * scale / step) * step for amount in (role.low, role.high))
    if draw.share("salary is one figure") < 0.15:
        high = low
    text = _salary_text(draw, low, high, place, unit) if draw.share("salary is text") < 0.2 else None
    return Salary(low, high, place.currency, unit, text)


def _salary_text(draw: Draw, low: float, high: float, place: Place, unit: str) -> str:
    per = {"YEAR": "a year", "MONTH": "per month", "DAY": "a day", "HOUR": "an hour"}[unit]
    sign = place.sign
    if low == high:
        return f"{sign}{low:,g} {per}"
    forms = [
        f"{sign}{low:,g} - {sign}{high:,g} {per}",
        f"Up to {sign}{high:,g} {per}",
        f"From {sign}{low:,g} {per}",
    ]
    if unit == "YEAR":
        forms += [
            f"{sign}{low / 1000:g}k–{sign}{high / 1000:g}k",
            f"{sign}{low / 1000:g}k - {high / 1000:g}k {per}",
        ]
    return draw.pick("salary words", forms)
