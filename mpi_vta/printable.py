"""Text from outside made fit for a terminal: what would move the cursor, colour or turn the line is spelled out."""

from __future__ import annotations

import unicodedata

MOST_CHARACTERS = 2000
# controls, formats (which turn the direction of writing), halves of pairs, separators of lines and paragraphs
_SPELLED_OUT = ("Cc", "Cf", "Cs", "Zl", "Zp")


def printable(text: str, kept: str = "") -> str:
    """Return `text` with every character that is none to be seen, but those in `kept`, written as an escape.

    Text of more than `MOST_CHARACTERS`, which nobody reads, is cut.
    """
    if len(text) > MOST_CHARACTERS:
        text = f"{text[:MOST_CHARACTERS]}... ({len(text):,} characters)"
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter if letter in kept or unicodedata.category(letter) not in _SPELLED_OUT else _escape(letter)
        for letter in text
    )


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode()


def picture_text(text: str, length: int = 120) -> str:
    """Return a name for a picture: its middle left out if it is long, nothing of it taken for a formula."""
    text = printable(text)
    if len(text) > length:
        text = f"{text[: length // 2 - 1]}…{text[-(length - length // 2) :]}"
    return text.replace("$", r"\$")
