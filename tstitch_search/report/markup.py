"""HTML that cannot be forgotten to escape: text becomes `Html` only through `tag`, which escapes it."""

from html import escape


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *children: str, attributes: dict[str, str] | None = None, kind: str = "") -> Html:
    """The element `name` of class `kind` around `children`; whatever is not `Html` yet is escaped."""
    given = {"class": kind, **(attributes or {})} if kind else attributes or {}
    inside = "".join(f' {key}="{escape(value)}"' for key, value in given.items())
    return Html(f"<{name}{inside}>{join(*children)}</{name}>")


def image(source: str, text: str, width: int, height: int, kind: str) -> Html:
    """An image of `width` x `height` pixels that says `text` to those who do not see it."""
    size = f'width="{width}" height="{height}"'
    return Html(f'<img class="{escape(kind)}" src="{escape(source)}" alt="{escape(text)}" {size}>')


def join(*parts: str) -> Html:
    """The parts one after another, escaped where they are not `Html` yet."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def table(head: list[str], rows: list[list[str]], kind: str = "") -> Html:
    """A table; each cell carries its column's name, so that a narrow screen can show rows as cards."""
    header = tag("tr", *(tag("th", name, attributes={"scope": "col"}) for name in head))
    body = [
        tag("tr", *(tag("td", cell, attributes={"data-label": name}) for name, cell in zip(head, row, strict=True)))
        for row in rows
    ]
    return tag("table", tag("thead", header), tag("tbody", *body), kind=kind)
