"""HTML from values. The one place where strings become markup: everything that is not `Html` is escaped."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

# Readable on a phone (tables scroll on their own), on a desk and on paper; nothing comes from elsewhere.
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; color: #1a1a1a; background: #fff;
  max-width: 66rem; margin: 0 auto; padding: 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ccc; padding-bottom: .2rem; }
.answer { font-size: 1.08rem; border-left: 4px solid #0072B2; padding: .1rem 0 .1rem 1rem; margin: 1rem 0; }
.answer p { margin: .4rem 0; }
.banner { border: 2px solid #D55E00; background: #fff4ec; padding: .6rem 1rem; font-weight: 600; }
.note { color: #555; font-size: .88rem; }
.figures { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
.start { align-items: start; }
figure { margin: 0; break-inside: avoid; }
figure img { width: 100%; max-width: 30rem; height: auto; display: block; margin: 0 auto; }
figcaption { font-size: .85rem; color: #333; margin-top: .4rem; }
.scroll { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e4e4e4; }
th { border-bottom: 1px solid #555; vertical-align: bottom; font-weight: 600; }
th.group { text-align: center; border-bottom: 1px solid #aaa; }
td.text, th.text { text-align: left; white-space: normal; min-width: 5rem; }
td small { white-space: nowrap; }
small { color: #666; font-size: .78em; font-weight: 400; }
tr.chosen td { background: #fff4ec; font-weight: 600; }
pre { background: #f4f4f4; padding: .6rem .8rem; overflow-x: auto; font-size: .82rem; white-space: pre-wrap; }
ul { padding-left: 1.2rem; }
@media print { body { font-size: 10.5px; max-width: none; padding: 0; } .scroll { overflow: visible; }
  table { font-size: 7.5px; } th, td { padding: .1rem .25rem; }
  h2 { break-after: avoid; } tr { break-inside: avoid; } }
""".strip()


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def escape(value: object) -> Html:
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def tag(name: str, *content: object, **attributes: str) -> Html:
    """An element; `class_` stands for class."""
    pairs = "".join(f' {key.rstrip("_")}="{html.escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{pairs}>{join(content)}</{name}>")


def join(parts: Iterable[object]) -> Html:
    return Html("".join(escape(part) for part in parts))


def section(title: str, *content: object) -> Html:
    return Html(tag("section", tag("h2", title), *content) + "\n")


def bullets(lines: Iterable[str]) -> Html:
    return tag("ul", *(tag("li", line) for line in lines))


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    text: Sequence[str] = (),
    groups: Sequence[tuple[str, int]] = (),
    chosen: int | None = None,
) -> Html:
    """A table that scrolls sideways on its own.

    Columns named in `text` are left-aligned; `groups` are headings over so many columns each; the row with
    index `chosen` stands out.
    """

    def cell(name: str, content: object, column: str) -> Html:
        return tag(name, content, class_="text") if column in text else tag(name, content)

    head = ""
    if groups:
        head += tag(
            "tr",
            *(Html(f'<th class="group" colspan="{width}">{escape(name)}</th>') for name, width in groups),
        )
    head += tag("tr", *(cell("th", column, column) for column in columns))
    body = []
    for index, row in enumerate(rows):
        cells = [cell("td", value, column) for value, column in zip(row, columns, strict=True)]
        body.append(tag("tr", *cells, class_="chosen") if index == chosen else tag("tr", *cells))
    return tag("div", tag("table", tag("thead", Html(head)), tag("tbody", *body)), class_="scroll")


def picture(svg: bytes, alternative: str, caption: str) -> Html:
    """An SVG as a data URI: its identifiers cannot meet those of another, and it has a text for the blind."""
    source = "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")
    image = Html(f'<img src="{source}" alt="{html.escape(alternative)}">')
    return Html(tag("figure", image, tag("figcaption", caption)) + "\n")


def page(title: str, *content: object) -> str:
    # The policy makes a browser refuse any request, should markup ever slip through.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n"
        f"{join(content)}\n</body>\n</html>\n"
    )
