"""Texts that are hard to keep in line protocol and Flux: those with a meaning of their own there, and whatever else there is."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

TRICKS: Final = [
    ",",
    "=",
    " ",
    '"',
    "'",
    "\\",
    "\\,",
    "\\ ",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "#",
    "i",
    "=1i 1",
    " =1i 1\nm x=1i 2",
    "\u2028",
    "🦀",
    "e\u0301",
    '") |> drop(columns: ["site"]) //',
    "${1 + 1}",
    '"\nfrom(bucket: "fleet")',
]

texts = st.lists(st.one_of(st.sampled_from(TRICKS), st.text(max_size=4)), max_size=6).map("".join)
"""Made of them, and of others."""
