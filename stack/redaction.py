"""What a log must not tell: the secrets of the settings, and what looks like a credential whosever it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from scrapewatch.settings import Settings

HIDDEN: Final = "[hidden]"

_NAMES: Final = re.compile(
    r"authorization|cookie|credentials?|passw(or)?d|secret|token|api_?key", re.IGNORECASE
)
"""Names of values that are never told."""

_SHORTEST: Final = 6  # shorter secrets of the settings would hide words that only look like them

_LOOKS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), shown)
    for pattern, shown in (
        (r"(sw_[0-9a-f]{8}_)[0-9a-f]{64}", rf"\1{HIDDEN}"),  # a key of ours: its prefix may be told
        (r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*", HIDDEN),  # a JWT
        (r"\b(bearer|basic|token)\s+[\w.~+/=-]{16,}", rf"\1 {HIDDEN}"),
        (r"(://[^\s/:@]*:)[^\s/@]+@", rf"\1{HIDDEN}@"),  # the password in a URL
        (r"\b((?:password|passwd|secret|token|api_?key)=)[^\s&,;'\"]+", rf"\1{HIDDEN}"),
    )
)


class Redaction:
    """A processor of structlog that hides secrets in all that an entry says; it stands behind what formats exceptions."""

    def __init__(self, settings: Settings) -> None:
        found: set[str] = set()
        for name in Settings.model_fields:
            value = getattr(settings, name)
            if isinstance(value, SecretStr):
                found |= _forms(value.get_secret_value())
        # The longest first: one may be a part of another.
        self._secrets = sorted((each for each in found if len(each) >= _SHORTEST), key=len, reverse=True)

    def __call__(
        self, logger: object, method: str, entry: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """The entry without what it must not tell."""
        return {name: self._value(name, value) for name, value in entry.items()}

    def text(self, text: str) -> str:
        """``text`` without what it must not tell."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        for look, shown in _LOOKS:
            text = look.sub(shown, text)
        return text

    def _value(self, name: str, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if _NAMES.fullmatch(name):
            return HIDDEN
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self._value(str(key), each) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value("", each) for each in value]
        return self.text(repr(value))  # as it would be written


def _forms(secret: str) -> set[str]:
    """``secret`` in the forms in which errors show it: a URL also as its password alone."""
    found = {secret}
    try:
        password = urlsplit(secret).password
    except ValueError:
        return found
    return found if password is None else {*found, password, unquote(password)}
