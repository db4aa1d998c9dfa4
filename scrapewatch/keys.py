"""The text of an API key, and what of it is kept.

A key is ``sw_<prefix>_<secret>``: eight hexadecimal digits that may be shown (lists and logs name a key by them) and 256 random bits. Of
the whole only its SHA-256 is kept. A slow hash, as passwords need, would protect nothing here: nobody guesses 256 bits.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final

_KEY: Final = re.compile(r"sw_([0-9a-f]{8})_[0-9a-f]{64}")


def new_key() -> str:
    """A new key."""
    return f"sw_{secrets.token_hex(4)}_{secrets.token_hex(32)}"


def prefix_of(text: str) -> str | None:
    """The prefix of a key; None where ``text`` is none."""
    found = _KEY.fullmatch(text)
    return None if found is None else found[1]


def hash_of(key: str) -> str:
    """What of a key is kept: 64 hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()
