"""A little HTML: everything that is not `Markup` is escaped, so that no name of a user's file becomes part of the page."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape

_VOID = ("img", "meta", "br")
_ONE_LINE = 30  # letters of code


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: object) -> Markup:
    """``value`` as text; characters that no page may hold become their replacement."""
    if isinstance(value, Markup):
        return value
    shown = "".join(c if c in "\t\n" or not (ord(c) < 32 or 127 <= ord(c) < 160) else "\ufffd" for c in str(value))
    return Markup(escape(shown))


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element; ``class_`` is class, an underscore in a name is a hyphen, and an attribute that is None is left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{''.join(text(child) for child in children)}</{name}>")


def table(head: Sequence[object], rows: Iterable[Sequence[object]], caption: str, words: int = 1) -> Markup:
    """A table that scrolls in its own box; the first ``words`` columns are text, the others numbers."""

    def row(kind: str, cells: Sequence[object]) -> Markup:
        made = []
        for k, cell in enumerate(cells):
            scope = {"scope": "col"} if kind == "th" else {}
            short = k == 0 and len(re.sub("<.*?>", "", text(cell))) <= _ONE_LINE
            made.append(tag(kind, cell, class_="first" if short else None if k < words else "number", **scope))
        return tag("tr", *made)

    body = tag("tbody", *(row("td", cells) for cells in rows))
    inside = tag("table", tag("caption", caption), tag("thead", row("th", head)), body)
    # a keyboard reaches what scrolls
    return tag("div", inside, class_="scroll", tabindex="0", role="region", aria_label=caption)


def jpeg(data: bytes, alt: str, size: tuple[int, int]) -> Markup:
    """A picture that is part of the page; ``size`` is width and height, px."""
    source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    return tag("img", src=source, alt=alt, width=size[0], height=size[1])


def paragraph(*children: object) -> Markup:
    """A paragraph."""
    return tag("p", *children)


def joined(pieces: Iterable[object]) -> Markup:
    """One after the other."""
    return Markup("".join(text(piece) for piece in pieces))


def code(words: str) -> Markup:
    """What is typed or stands in a file; short words stay on one line."""
    return tag("code", words, class_="short" if len(words) <= _ONE_LINE else None)


def two_columns(rows: Iterable[tuple[str, str]], title: str) -> Markup:
    """Names and texts as a small table of its own, as a notebook shows it."""
    cells = (tag("tr", tag("th", name, style="text-align: left"), tag("td", value)) for name, value in rows)
    return tag("table", tag("caption", title), *cells)
