"""A page that is one file: its style inside, nothing fetched, nothing run, ready to be printed on A4.

The page's own policy allows its one style sheet, by digest, and nothing else: no script, picture, font, form or frame.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Sequence

from strongroom.trace.report.markup import Child, Node, e, given, written
from strongroom.trace.report.words import Language

ROWS_MAX = 200
INK, SOFT, LINE, PAPER = "#1b1f24", "#4d5661", "#8a939d", "#ffffff"
BLUE, ORANGE, RED, GREY, SHADE = "#0b5394", "#8a4b00", "#a31515", "#6b7580", "#eef2f6"

STYLE = f"""
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; color: {INK}; background: {PAPER};
  font: 16px/1.5 "Noto Sans", "Noto Sans CJK SC", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei",
  system-ui, "Segoe UI", Arial, sans-serif; }}
header, main, footer {{ max-width: 52rem; margin: 0 auto; padding: 0 1.25rem; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.7rem; line-height: 1.25; margin: 1.5rem 0 .5rem; }}
h2 {{ font-size: 1.25rem; margin: 2rem 0 .5rem; border-bottom: 1px solid {LINE}; padding-bottom: .2rem; }}
h3 {{ font-size: 1.05rem; margin: 1.25rem 0 .35rem; }}
p, ul, ol, dl {{ margin: .5rem 0; }}
li {{ margin: .2rem 0; }}
.soft, caption, figcaption, footer {{ color: {SOFT}; }}
.short {{ background: {SHADE}; border-left: 4px solid {BLUE}; padding: .5rem 1rem; }}
.note {{ border: 1px solid {LINE}; border-left: 4px solid {ORANGE}; padding: .5rem 1rem; margin: .75rem 0; }}
.draft {{ border: 2px solid {RED}; color: {RED}; padding: .5rem 1rem; font-weight: 700; margin-top: 1rem; }}
.blank {{ background: #fff3bf; color: #5c3d00; border: 1px dashed #8a4b00; padding: 0 .3em; font-weight: 600; }}
table {{ border-collapse: collapse; width: 100%; margin: .75rem 0; font-size: .875rem; }}
caption {{ text-align: left; font-weight: 600; padding: .25rem 0; }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .5rem; border-bottom: 1px solid #d0d5da; }}
thead th {{ border-bottom: 2px solid {LINE}; }}
td.n, th.n {{ text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: normal; }}
td.n {{ white-space: nowrap; }}
thead th {{ overflow-wrap: normal; }}
code {{ font: .85em ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }}
figure {{ margin: 1rem 0; }}
figure svg {{ width: 100%; height: auto; display: block; }}
figcaption {{ font-size: .875rem; }}
dl {{ display: grid; grid-template-columns: minmax(8rem, 15rem) 1fr; gap: .15rem 1rem; }}
dt {{ font-weight: 600; }}
dd {{ margin: 0; min-width: 0; }}
nav ol {{ columns: 2; }}
a {{ color: {BLUE}; }}
footer {{ border-top: 1px solid {LINE}; margin-top: 2rem; padding-top: .5rem; padding-bottom: 2rem; font-size: .8rem; }}
@page {{ size: A4; margin: 18mm 17mm 20mm;
  @bottom-right {{ content: counter(page) " / " counter(pages); font: 9pt sans-serif; color: {SOFT}; }} }}
@media print {{
  body {{ font-size: 10.5pt; }}
  header, main, footer {{ max-width: none; padding: 0; }}
  h2, h3, caption, thead {{ break-after: avoid; }}
  figure, tr, li, dt, dd, .short, .note, .draft {{ break-inside: avoid; }}
  thead {{ display: table-header-group; }}
  * {{ print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
}}
"""

_DIGEST = b64encode(hashlib.sha256(STYLE.encode("utf-8")).digest()).decode("ascii")
POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'"
_LANG = {"en": "en", "zh": "zh-Hans"}


def document(title: str, top: Iterable[Child], main: Iterable[Child], foot: Iterable[Child], language: Language) -> str:
    """A whole page.

    Args:
        title: Of the window, and the one heading of first order.
        top: What stands under the heading.
        main: The sections.
        foot: What stands below them.
        language: Of the page.
    """
    head = e(
        "head",
        e("meta", charset="utf-8"),
        e("meta", http_equiv="Content-Security-Policy", content=POLICY),
        e("meta", name="viewport", content="width=device-width, initial-scale=1"),
        e("meta", name="referrer", content="no-referrer"),
        e("meta", name="robots", content="noindex, nofollow"),
        e("title", title),
        _style(),
    )
    below = list(foot)
    body = e("body", e("header", e("h1", title), top), e("main", main), e("footer", below) if below else None)
    return "<!DOCTYPE html>\n" + written(e("html", head, body, lang=_LANG[language])) + "\n"


def _style() -> Node:
    node = e("style")
    node.text = STYLE  # the only text that is not escaped: a constant, whose digest the policy names
    return node


def section(name: str, heading: str, *children: Child) -> Node:
    """A section with its heading and an anchor."""
    return e("section", e("h2", heading, id=name), *children, aria_labelledby=name)


def contents(heading: str, sections: Sequence[Node]) -> Node:
    """Links to the sections."""
    rows = [e("li", e("a", one[0].text, href=f"#{one[0].get('id')}")) for one in sections]
    return e("nav", e("h2", heading, id="contents"), e("ol", rows), aria_labelledby="contents")


def table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[Child]]) -> Node:
    """A table with a caption; a heading that ends with # is of numbers. Rows beyond ROWS_MAX are counted."""
    numeric = [heading.endswith("#") for heading in headings]
    kinds = ["n" if one else None for one in numeric]
    top = [e("th", h.removesuffix("#"), scope="col", class_=k) for h, k in zip(headings, kinds, strict=True)]
    lines = [_line(row, kinds) for row in rows[:ROWS_MAX]]
    made = e("table", e("caption", caption), e("thead", e("tr", top)), e("tbody", lines))
    if len(rows) <= ROWS_MAX:
        return made
    left = f"{len(rows) - ROWS_MAX:,} further rows are left out here; the archived facts have them."
    return e("div", made, e("p", left, class_="soft"))


def _line(row: Sequence[Child], kinds: Sequence[str | None]) -> Node:
    cells = list(zip(row, kinds, strict=True))
    first = e("th", cells[0][0], scope="row", class_=cells[0][1])
    return e("tr", first, [e("td", cell, class_=kind) for cell, kind in cells[1:]])


def pairs(rows: Iterable[tuple[str, Child]]) -> Node:
    """Terms with what is said of them; those of which nothing is said are left out."""
    return e("dl", [[e("dt", term), e("dd", said)] for term, said in rows if said is not None and said != ""])


def listed(items: Iterable[Child]) -> Node:
    """A list."""
    return e("ul", [e("li", item) for item in items])


def lines(some: Iterable[str]) -> list[Child]:
    """Texts from outside, a line each."""
    return [[given(one), e("br")] for one in some]


def code(text: str) -> Node:
    """An id or a digest."""
    return e("code", text)


def names(some: Iterable[str]) -> list[Child]:
    """Names from outside, separated by commas."""
    found: list[Child] = []
    for one in some:
        found += [", " if found else None, given(one)]
    return found


def prose(text: str) -> list[str]:
    """The paragraphs of a text, which an empty line parts."""
    return [" ".join(one.split()) for one in text.split("\n\n") if one.strip()]


def blank(what: str, language: Language = "en") -> Node:
    """What only the controller can say, and has not said."""
    return e("mark", f"［待填写：{what}］" if language == "zh" else f"[to fill in: {what}]", class_="blank")


def blanks(nodes: Iterable[Node]) -> int:
    """How many blanks are left."""
    return sum(1 for node in nodes for mark in node.iter("mark") if mark.get("class") == "blank")
