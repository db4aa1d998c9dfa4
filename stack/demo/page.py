"""What a page of the job site says: links, how many postings there are, and the posting itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any


class MalformedPosting(ValueError):
    """The page's JSON-LD is not JSON, or no JobPosting."""


@dataclass
class Page:
    """A page as its HTML shows it; `total` is None unless it is a listing."""

    job_links: list[str] = field(default_factory=list)
    next_link: str | None = None
    total: int | None = None
    json_ld: str | None = None
    captcha: bool = False


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self._in_json_ld = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        match tag, attributes:
            case "a", {"class": "job", "href": str(href)}:
                self.page.job_links.append(href)
            case "a", {"rel": "next", "href": str(href)}:
                self.page.next_link = href
            case "p", {"data-total": str(total)}:
                self.page.total = int(total)
            case "script", {"type": "application/ld+json"}:
                self._in_json_ld = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._in_json_ld = False

    def handle_data(self, data: str) -> None:
        if self._in_json_ld:
            self.page.json_ld = (self.page.json_ld or "") + data
        elif "verify you are human" in data:
            self.page.captcha = True


def read_page(text: str) -> Page:
    """Reads a page of HTML, however broken."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return reader.page


def read_job(page: Page, url: str) -> dict[str, Any]:
    """The posting of a page as an event's `job`; what the page leaves out has no key.

    The salary is the page's own words (`salary`), or amounts (`salary_min`, `salary_max`) with `salary_currency` and
    `salary_interval`, one of year, month, day and hour.

    Raises:
        MalformedPosting: the page has no JSON-LD, or its JSON-LD cannot be read.
    """
    try:
        data = json.loads(page.json_ld or "")
    except ValueError as error:
        raise MalformedPosting(f"JSON-LD cannot be read: {error}") from error
    if not isinstance(data, dict) or data.get("@type") != "JobPosting":
        raise MalformedPosting("JSON-LD is no JobPosting")
    address = data.get("jobLocation", {}).get("address", {})
    where = [address.get(key) for key in ("addressLocality", "addressRegion", "addressCountry")]
    skills = [skill.strip() for skill in data.get("skills", "").split(",")]
    facts = {
        "title": data.get("title"),
        "company": data.get("hiringOrganization", {}).get("name"),
        "location": ", ".join(part for part in where if part),
        **_salary(data.get("baseSalary")),
        "skills": [skill for skill in skills if skill],
        "posted_at": data.get("datePosted"),
        "url": url,
        "job_type": data.get("employmentType", "").lower(),
        "description": data.get("description"),
    }
    present = {name: value for name, value in facts.items() if value}
    return present | {"is_remote": data.get("jobLocationType") == "TELECOMMUTE"}


def _salary(stated: Any) -> dict[str, Any]:
    if not isinstance(stated, dict):
        return {"salary": stated}
    value = stated.get("value", {})
    return {
        "salary_min": value.get("minValue", value.get("value")),
        "salary_max": value.get("maxValue", value.get("value")),
        "salary_interval": value.get("unitText", "").lower(),
        "salary_currency": stated.get("currency"),
    }
