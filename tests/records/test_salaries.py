"""Salaries as sites write them, brought to a year."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.salaries import A_YEAR, MOST, Salary, currency_of, interval_of, normalise

JOBS = Path(__file__).parents[3] / "shared" / "data" / "jobs" / "nyc_jobs.csv"


@pytest.mark.parametrize(
    ("text", "minimum", "maximum", "currency"),
    [
        ("$120k - $150k", 120_000, 150_000, "USD"),
        ("$120k-150", 120_000, 150_000, "USD"),
        ("120-150k USD", 120_000, 150_000, "USD"),
        ("$120,000 - $150,000 a year", 120_000, 150_000, "USD"),
        ("$85K/yr - $95K/yr", 85_000, 95_000, "USD"),
        ("Employer provided salary: $60K - $80K", 60_000, 80_000, "USD"),
        ("$1.2M", 1_200_000, 1_200_000, "USD"),
        ("€60.000–€80.000 per year", 60_000, 80_000, "EUR"),
        ("60\u00a0000 € / an", 60_000, 60_000, "EUR"),
        ("45000 EUR brutto im Jahr", 45_000, 45_000, "EUR"),
        ("€25,50/Std.", 25.5 * 2_080, 25.5 * 2_080, "EUR"),
        ("Up to £50,000 per annum", 50_000, 50_000, "GBP"),
        ("£300 - £400 per day", 78_000, 104_000, "GBP"),
        ("From $25 an hour", 52_000, 52_000, "USD"),
        ("hourly: $20 - $30", 41_600, 62_400, "USD"),
        ("$30 per hour - $40 per hour", 62_400, 83_200, "USD"),
        ("$25/hr, 40 hours per week", 52_000, 52_000, "USD"),
        ("$15 - $20", 31_200, 41_600, "USD"),
        ("$1,500 - $2,000 per week", 78_000, 104_000, "USD"),
        ("$4,000 a month", 48_000, 48_000, "USD"),
        ("10,000 - 15,000 zł / month", 120_000, 180_000, "PLN"),
        ("CHF 100'000", 100_000, 100_000, "CHF"),
        ("CA$80,000", 80_000, 80_000, "CAD"),
        ("$90,000 CAD", 90_000, 90_000, "CAD"),
        ("Between $90,000 and $110,000", 90_000, 110_000, "USD"),
        ("₹12,00,000 - ₹18,00,000 a year", 1_200_000, 1_800_000, "INR"),
        ("8-12 LPA", 800_000, 1_200_000, "INR"),
        ("45 000 kr/month", 540_000, 540_000, None),
        ("$120k + 10% bonus", 120_000, 120_000, "USD"),
        ("401k, $100,000", 100_000, 100_000, "USD"),
        ("1 to 2 years; $70,000", 70_000, 70_000, "USD"),
        ("$150k - $120k", 120_000, 150_000, "USD"),
    ],
)
def test_what_sites_write_is_read_as_people_mean_it(
    text: str, minimum: float, maximum: float, currency: str | None
) -> None:
    found = normalise(text)
    assert found is not None
    assert (found.minimum, found.maximum) == pytest.approx((minimum, maximum))
    assert found.currency == currency


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Competitive",
        "5 years experience",
        "40 hours per week",
        "$0",
        "120000",
        "¥5,000,000",
        "401(k)",
        "24/7",
    ],
)
def test_what_names_no_salary_or_leaves_its_interval_in_doubt_is_none(text: str) -> None:
    assert normalise(text) is None


def test_figures_count_before_words_and_take_from_them_what_they_lack() -> None:
    assert normalise("£20 an hour", 30.0, 40.0) == Salary(62_400, 83_200, "GBP")
    assert normalise("£20 an hour", 3_000.0, None, "MONTH", "eur") == Salary(36_000, 36_000, "EUR")
    assert normalise(None, 0.0, 90_000.0, "yearly", None) == Salary(90_000, 90_000, None)
    assert normalise("about $50", 0.0, 0.0) == Salary(104_000, 104_000, "USD")
    assert normalise(None, 5_000.0, 6_000.0, None, "USD") is None
    assert normalise(None, 50_000.0, 60_000.0, None, "INR") is None


@pytest.mark.parametrize("said", ["Annual", "YEAR", "yearly", "per annum", "p.a."])
def test_intervals_are_known_by_any_of_their_names(said: str) -> None:
    assert interval_of(said) == "year"


@pytest.mark.parametrize(
    ("said", "interval"),
    [("Hourly", "hour"), ("Daily", "day"), ("WEEK", "week"), ("fortnight", None), ("", None)],
)
def test_an_interval_that_is_not_known_is_none(said: str, interval: str | None) -> None:
    assert interval_of(said) == interval


def test_currencies_are_known_by_code_and_sign() -> None:
    assert [currency_of(said) for said in ("usd", " EUR ", "£", "R$", "gold", None)] == [
        *("USD", "EUR", "GBP", "BRL"),
        None,
        None,
    ]


def test_salaries_are_compared_by_the_middle_to_three_digits() -> None:
    assert Salary(100_000, 123_456, "USD").middle == 112_000
    assert Salary(48_333.3, 48_333.3, None).middle == 48_300


@given(st.text(max_size=600))
def test_any_text_is_a_salary_or_none(text: str) -> None:
    found = normalise(text)
    assert found is None or 0 < found.minimum <= found.maximum < MOST


_FORMS = (
    lambda n: f"{n:,}",
    lambda n: f"{n:,}".replace(",", "."),
    lambda n: f"{n:,}".replace(",", "\u202f"),
    lambda n: f"{n:,}".replace(",", "'"),
    str,
)


@given(
    low=st.integers(1_000, 900_000),
    more=st.integers(0, 90_000),
    form=st.sampled_from(_FORMS),
    sign=st.sampled_from([("$", "USD"), ("€", "EUR"), ("£", "GBP"), ("PLN ", "PLN")]),
    between=st.sampled_from([" - ", "–", " to ", "-"]),
    interval=st.sampled_from(
        [("/year", 1), (" per month", 12), (" a week", 52), (" per day", 260), (" yearly", 1)]
    ),
)
def test_a_range_is_read_in_any_form_of_its_numbers(low, more, form, sign, between, interval) -> None:  # type: ignore[no-untyped-def]
    text = f"{sign[0]}{form(low)}{between}{sign[0]}{form(low + more)}{interval[0]}"
    assert normalise(text) == Salary(low * interval[1], (low + more) * interval[1], sign[1])


@given(st.integers(10, 999), st.sampled_from(["$", "€", "£"]))
def test_k_is_a_thousand(amount: int, sign: str) -> None:
    for text in (f"{sign}{amount}k", f"{sign}{amount}K a year", f"{sign} {amount} k per annum"):
        found = normalise(text)
        assert found is not None
        assert (found.minimum, found.maximum) == (amount * 1_000, amount * 1_000)


@given(
    st.floats(0.01, 1e6, allow_nan=False),
    st.floats(0.01, 1e6, allow_nan=False),
    st.sampled_from(sorted(A_YEAR)),
)
def test_figures_are_brought_to_a_year_by_the_factor_of_their_interval(
    a: float, b: float, interval: str
) -> None:
    found = normalise(None, a, b, interval, "USD")
    assert found == Salary(min(a, b) * A_YEAR[interval], max(a, b) * A_YEAR[interval], "USD")


def test_real_postings_with_salaries_a_year_a_day_and_an_hour_are_all_brought_to_a_year() -> None:
    if not JOBS.is_file():
        pytest.skip("../shared/data is not here, so not salaries of real postings")
    factors = {"Annual": 1, "Daily": 260, "Hourly": 2_080}
    read = 0
    with JOBS.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            low, high = float(row["Salary Range From"]), float(row["Salary Range To"])
            found = normalise(None, low, high, row["Salary Frequency"], "USD")
            factor = factors[row["Salary Frequency"]]
            assert found == Salary(max(low or high, 0) * factor, high * factor, "USD")
            assert 8_000 < found.middle < 400_000, row["Job ID"]
            unit = {"Annual": "a year", "Daily": "a day", "Hourly": "an hour"}[row["Salary Frequency"]]
            # The same said in words, to the cent.
            words = normalise(f"${low or high:,.2f} - ${high:,.2f} {unit}")
            assert words is not None
            assert words.middle == pytest.approx(found.middle, rel=0.01)
            read += 1
    assert read > 3_000
