"""HTML that cannot be forgotten to escape: text becomes `Html` only through `tag`, which escapes it."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *children: str, attributes: dict[str, str] | None = None, kind: str = "") -> Html:
    """The element `name` of class `kind` around `children`; whatever is not `Html` yet is escaped."""
    given = {"class": kind, **(attributes or {})} if kind else attributes or {}
    inside = "".join(f' {key}="{escape(value)}"' for key, value in given.items())
    return Html(f"<{name}{inside}>{join(*children)}</{name}>")


def image(source: str, text: str, width: int, height: int, attributes: Mapping[str, str]) -> Html:
    """An image of `width` x `height` pixels that says `text` to those who do not see it."""
    return _alone("img", {**attributes, "src": source, "alt": text, "width": str(width), "height": str(height)})


def field(kind: str, attributes: Mapping[str, str]) -> Html:
    """A field to enter something of the type `kind`."""
    return _alone("input", {"type": kind, **attributes})


def _alone(name: str, attributes: Mapping[str, str]) -> Html:
    """An element that has no inside."""
    return Html(f"<{name}" + "".join(f' {key}="{escape(value)}"' for key, value in attributes.items()) + ">")


def data(name: str, value: Any) -> Html:
    """JSON for the page's script, which finds it by the id `name`; no text in it can end the element."""
    written = Html(json.dumps(value, allow_nan=False).replace("<", "\\u003c"))
    return tag("script", written, attributes={"type": "application/json", "id": name})


def switch(label: str, choices: Mapping[str, str], name: str) -> Html:
    """Buttons of which one is pressed; the first at the start. The page's script makes them work."""
    buttons = [
        tag(
            "button",
            text,
            attributes={"type": "button", f"data-{name}": value, "aria-pressed": "true" if i == 0 else "false"},
        )
        for i, (text, value) in enumerate(choices.items())
    ]
    return tag("div", tag("span", label), *buttons, kind="switch", attributes={"role": "group", "aria-label": label})


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
