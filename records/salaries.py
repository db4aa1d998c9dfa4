"""Salaries as sites write them, made comparable: a least and a highest amount a year, in the currency they were given in.

``$120k - $150k`` is 120,000 to 150,000 USD a year, ``€25,50/Std.`` is 53,040 EUR. Pure: the same input always gives the same answer.

Nothing is converted between currencies, since no rates are known here. ``$`` alone is read as USD; ``kr``, which is the sign of four
currencies, as none. An amount that says no interval is read as one a year or an hour where its size leaves no doubt, and else as no
salary. What is paid beside (bonus, equity, 401k) does not count.

Factors to a year, of full-time work: 2,080 hours (the "year-round, full-time" figure of the U.S. Bureau of Labor Statistics, 52 weeks
of 40 hours: https://www.bls.gov/oes/oes_ques.htm), 260 days and 52 weeks of the same year, 12 months. Holidays are not taken off.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

A_YEAR = MappingProxyType({"hour": 2_080, "day": 260, "week": 52, "month": 12, "year": 1})
"""How often an interval comes in a year of full-time work."""

MOST = 1e12
"""An amount a year beyond this is a mistake in any currency."""

_INTERVALS = {
    "hour": "hour hours hourly hr hrs h std stunde stündlich heure hora",
    "day": "day days daily diem tag täglich jour día dia",
    "week": "week weeks weekly wk woche wöchentlich semaine semana",
    "month": "month months monthly mo mth pcm monat monatlich mois mes mês miesiąc miesięcznie mies",
    "year": "year years yearly yr annum annual annually pa p.a jahr jährlich an année año ano rok lpa",
}
_INTERVAL_OF = {word: interval for interval, words in _INTERVALS.items() for word in words.split()}

_SIGNS = {
    sign: code
    for code, signs in {
        "USD": "us$ $",
        "CAD": "ca$ c$",
        "AUD": "au$ a$",
        "NZD": "nz$",
        "HKD": "hk$",
        "SGD": "s$",
        "BRL": "r$",
        "MXN": "mx$",
        "EUR": "€ euro euros",
        "GBP": "£",
        "JPY": "¥",
        "INR": "₹ rs.",
        "PLN": "zł zl",
        "CZK": "kč",
        "CHF": "fr.",
        "RUB": "₽",
        "KRW": "₩",
        "ILS": "₪",
        "TRY": "₺",
        "PHP": "₱",
        "VND": "₫",
        "THB": "฿",
        "NGN": "₦",
    }.items()
    for sign in signs.split()
}
_CODES = (
    "USD EUR GBP CAD AUD NZD CHF PLN CZK SEK NOK DKK ISK HUF RON BGN JPY CNY HKD SGD INR KRW ILS TRY RUB UAH BRL MXN ARS CLP COP "
    "PEN ZAR NGN KES EGP MAD AED SAR QAR PHP IDR MYR THB VND TWD PKR BDT LKR"
)
_CODE = frozenset(_CODES.split())
# In these a year's pay cannot be taken for a month's, nor an hour's for a day's.
_GUESSED = frozenset({None, "USD", "EUR", "GBP", "CAD", "AUD", "NZD", "CHF"})
_LEAST_OF_A_YEAR, _MOST_OF_AN_HOUR = 10_000, 150

_MONEY = "|".join(
    [*(re.escape(sign) for sign in sorted(_SIGNS, key=len, reverse=True)), *_CODES.lower().split(), "kr"]
)
_SPACE = "[ \u00a0\u2009\u202f]"
_NUMBER = rf"\d+(?:(?:[.,'’]|{_SPACE}(?=\d{{3}}(?!\d)))\d+)*"
_SCALE = r"k|m|mio|lakhs?|lacs?|lpa|l|cr"


def _amount(name: str) -> str:
    # A number that a letter or percent sign follows is no amount, and neither is the end of another number.
    return (
        rf"(?P<before{name}>(?<![a-z])(?:{_MONEY}))?{_SPACE}*"
        rf"(?<![\d.,a-z])(?P<number{name}>{_NUMBER}){_SPACE}?(?:(?P<scale{name}>{_SCALE})(?![a-z]))?"
        rf"(?![\d%])(?:{_SPACE}*(?P<after{name}>{_MONEY})(?![a-z]))?"
    )


_UNIT = "|".join(sorted(map(re.escape, _INTERVAL_OF), key=len, reverse=True))
_PER = rf"(?:/|\bper\b|\bp/|\bpro\b|\bpar\b|\bpor\b|\ban?\b|\bje\b|\bim\b|\beach\b|\bp\.(?=\w)){_SPACE}*(?:{_UNIT})"
_RANGE = re.compile(
    rf"{_amount('1')}(?:{_SPACE}*(?:{_PER})?{_SPACE}*(?:-|–|—|−|~|\bto\b|\band\b|\bbis\b|\bà\b|\bhasta\b|\bdo\b){_SPACE}*{_amount('2')})?"
)
_NEAR = re.compile(rf"\W{{0,4}}(?:{_PER}|(?:{_UNIT}))(?!\w)")
_ANYWHERE = re.compile(
    rf"(?:/|\bper\b){_SPACE}*(?P<per>{_UNIT})(?!\w)"
    r"|\b(?P<ly>hourly|daily|weekly|monthly|yearly|annual|annually|stündlich|monatlich|jährlich|pcm|lpa|p\.a)(?!\w)"
)
_LAST_WORD = re.compile(rf"(?:{_UNIT})$")
_BESIDE = re.compile(
    r"(?<![$€£] )(?<![$€£])\b40[13] ?\(?[kb]\b\)?|\b24/7\b"
)  # pension plans are not pay, and no hours are
_LAKHS = ("lakh", "lakhs", "lac", "lacs", "lpa", "l")
_SCALES = {"k": 1e3, "m": 1e6, "mio": 1e6, "cr": 1e7, **dict.fromkeys(_LAKHS, 1e5)}


@dataclass(frozen=True, slots=True)
class Salary:
    """A salary a year: ``minimum`` to ``maximum`` (the same where one amount was named), ``currency`` None where none was named."""

    minimum: float
    maximum: float
    currency: str | None

    @property
    def middle(self) -> float:
        """The middle of both, to three significant digits: what salaries are compared by. Finer is not meant by anyone who writes them."""
        return float(f"{(self.minimum + self.maximum) / 2:.3g}")


def normalise(
    text: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    interval: str | None = None,
    currency: str | None = None,
) -> Salary | None:
    """The salary a year that a posting names, in words or figures; None where it names none that can be understood.

    Figures count before words; interval and currency that they lack are taken from the words.
    """
    said = _parse(text) if text else None
    code = currency_of(currency) or (said.currency if said else None)
    amounts = [float(amount) for amount in (minimum, maximum) if amount is not None and 0 < amount < MOST]
    unit = interval_of(interval) or (said.interval if said else None)
    if not amounts:
        if said is None:
            return None
        amounts = [said.minimum, said.maximum]
    unit = unit or _guess(max(amounts), code)
    if unit is None:
        return None
    low, high = (amount * A_YEAR[unit] for amount in (min(amounts), max(amounts)))
    return Salary(low, high, code) if high < MOST else None


def interval_of(word: str | None) -> str | None:
    """``hour``, ``day``, ``week``, ``month`` or ``year`` for what sites call it, such as ``Annual`` or ``per hour``; or else None."""
    if not word:
        return None
    found = _LAST_WORD.search(word.strip().strip(".").lower())
    return _INTERVAL_OF[found[0]] if found else None


def currency_of(word: str | None) -> str | None:
    """The ISO 4217 code of a code or sign, or None where it is none that is known."""
    word = (word or "").strip()
    return word.upper() if word.upper() in _CODE else _SIGNS.get(word.lower())


@dataclass(frozen=True, slots=True)
class _Said:
    minimum: float
    maximum: float
    interval: str | None
    currency: str | None


@lru_cache(maxsize=10_000)  # texts of salaries come again and again
def _parse(text: str) -> _Said | None:
    """The first amount or range in ``text`` that is one of money."""
    said = _BESIDE.sub(" ", text[:500].lower())
    for match in _RANGE.finditer(said):
        near = _NEAR.match(said, match.end())
        if near is None:  # "€30 per hour - €40"
            near = re.search(_PER, match[0])
        interval = interval_of(near[0]) if near else None
        signs = [match[name] for name in ("after1", "after2", "before1", "before2") if match[name]]
        # "$ 100,000 CAD": the code says more than the sign.
        signs.sort(key=lambda sign: sign in _SIGNS)
        scales = [match[name] for name in ("scale1", "scale2") if match[name]]
        figures = [_figure(match[name]) for name in ("number1", "number2") if match[name]]
        if not signs and not scales and not (near and _is_money(figures, interval)):
            continue
        amounts = _scaled(figures, match["scale1"], match["scale2"])
        if not amounts:
            continue
        if interval is None:
            if "lpa" in scales:
                interval = "year"
            elif found := _ANYWHERE.search(said):
                interval = interval_of(found["per"] or found["ly"])
        code = currency_of(signs[0]) if signs else None
        if code is None and scales and scales[-1] in _LAKHS:
            code = "INR"
        return _Said(min(amounts), max(amounts), interval, code)
    return None


def _is_money(figures: list[float], interval: str | None) -> bool:
    """Whether figures without a sign can be money of ``interval``: "40 hours a week" and "5 years" are none."""
    return interval is not None and max(figures) >= (1_000 if interval in ("month", "year") else 200)


def _scaled(figures: list[float], first: str | None, second: str | None) -> list[float]:
    scales = [_SCALES[scale] if scale else 1.0 for scale in (first, second)][: len(figures)]
    if len(figures) == 2:
        # "120-150k" and "$120k - 150" name the scale once.
        for one, other in ((0, 1), (1, 0)):
            if scales[one] == 1.0 and scales[other] > 1.0 and figures[one] < 1_000:
                scales[one] = scales[other]
    found = [figure * scale for figure, scale in zip(figures, scales, strict=True)]
    return [amount for amount in found if 0 < amount < MOST]


def _figure(text: str) -> float:
    """The number that ``text`` writes, in whichever country's way.

    A single separator before exactly three digits groups thousands, so that 60.000 is sixty thousand; of two different ones the last
    divides the decimals.
    """
    text = re.sub(rf"{_SPACE}|['’]", "", text)
    marks = [mark for mark in text if mark in ".,"]
    decimal = ""
    if len(set(marks)) == 2:
        decimal = marks[-1]
    elif len(marks) == 1:
        whole, _, rest = text.partition(marks[0])
        if len(rest) != 3 or whole.strip("0") == "" or len(whole) > 3:
            decimal = marks[0]
    grouping = {".": ",", ",": "."}.get(decimal, ".,")
    for mark in grouping:
        text = text.replace(mark, "")
    whole, _, rest = text.rpartition(decimal) if decimal else (text, "", "")
    number = float(f"{whole.replace(decimal, '') if decimal else whole}.{rest or 0}"[:60])
    return number if math.isfinite(number) else 0.0


def _guess(amount: float, currency: str | None) -> str | None:
    if currency in _GUESSED:
        if amount >= _LEAST_OF_A_YEAR:
            return "year"
        if amount <= _MOST_OF_AN_HOUR:
            return "hour"
    return None
