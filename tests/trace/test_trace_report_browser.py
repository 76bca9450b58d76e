"""Pages of a trace in headless Chromium: shown, printed, read by a screen reader, and offered hostile names."""

import json
import re
import sys
import zlib
from base64 import b64decode
from pathlib import Path

import pytest
import report_kit as kit
from report_kit import pages

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cli"))

import browser_kit

pytestmark = pytest.mark.skipif(bool(browser_kit.missing()), reason=browser_kit.missing())

CENSUS = """(() => {
  const all = [...document.querySelectorAll('*')];
  return JSON.stringify(all.map(e => e.localName + ' ' + [...e.attributes].map(a => a.name).sort().join(',')));
})()"""

# Relative luminance and contrast as WCAG 2.2 defines them, of every text against the nearest background behind it.
CONTRAST = """(() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const lum = ([r, g, b]) => { const f = v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
    return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
  const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
  let least = 99, seen = 0;
  for (const e of document.querySelectorAll('body *')) {
    if (!e.getClientRects().length || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const style = getComputedStyle(e), ink = parse(e.localName === 'text' ? style.fill : style.color);
    const [a, b] = [lum(ink), lum(behind(e))].sort((x, y) => y - x);
    least = Math.min(least, (a + .05) / (b + .05)); seen++;
  }
  return JSON.stringify([least, seen]);
})()"""

OVERFLOW = """(() => {
  const out = [...document.querySelectorAll('svg text')].filter(t => { const b = t.getBBox();
    return b.x < -2 || b.x + b.width > 722; }).map(t => t.textContent);
  return JSON.stringify([document.documentElement.scrollWidth <= innerWidth, out]);
})()"""


class Shown:
    """Pages in a browser, with what was fetched and what the browser complained of."""

    def __init__(self, folder):
        self.folder, self.browser, self.pages = folder, browser_kit.Chromium(), 0
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.browser.ask(f"{domain}.enable")

    def show(self, text):
        """Open a page; gives what runs a script in it and reads its JSON."""
        self.pages += 1
        path = self.folder / f"page{self.pages}.html"  # another address each time: it tells the page from the one before
        path.write_text(text, encoding="utf-8")
        self.browser.ask("Emulation.setDeviceMetricsOverride", width=900, height=1200, deviceScaleFactor=1, mobile=False)
        self.browser.ask("Page.navigate", url=path.as_uri())
        there = f"complete{path}"
        assert self.browser.until("document.readyState + location.pathname", lambda told: told == there, 20) == there
        return lambda script: json.loads(self.browser.evaluate(script))

    def printed(self):
        made = self.browser.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=True, generateTaggedPDF=True)
        return b64decode(made["data"])


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A browser."""
    one = Shown(tmp_path_factory.mktemp("pages"))
    yield one
    one.browser.close()


WHOLE = pages(kit.whole(), kit.words())


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_page_is_shown_with_its_style_and_enough_contrast(shown, name):
    """The style sheet is let in by its digest, every text has a contrast of 4.5 to 1, and nothing is wider than the page."""
    ask = shown.show(WHOLE[name])
    assert ask("JSON.stringify(getComputedStyle(document.querySelector('h2')).borderBottomWidth)") == "1px"
    least, seen = ask(CONTRAST)
    assert seen > 10
    assert least >= 4.5
    fits, outside = ask(OVERFLOW)
    assert fits
    assert outside == []
    fetched = ask("JSON.stringify(performance.getEntriesByType('resource').map(e => e.name))")
    assert fetched == []


def test_the_policy_of_a_page_stops_what_is_added_to_it(shown):
    """A script, a handler and a picture that somebody writes into the page afterwards do nothing; without its policy they do."""
    added = "<script>document.title='run'</script><p onclick='x'></p><img src='data:,' onerror=\"document.title='run'\">"
    page = WHOLE["report.html"].replace("</main>", f"{added}</main>")
    assert shown.show(page)("JSON.stringify(document.title)") != "run"
    without = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    assert shown.show(without)("JSON.stringify(document.title)") == "run"


def test_the_report_is_printed_on_several_pages_of_a4(shown):
    """A tagged PDF of A4 with more than one page."""
    shown.show(WHOLE["report.html"])
    data = shown.printed()
    assert data.startswith(b"%PDF")
    sheets = re.findall(rb"/MediaBox\s*\[\s*0 0 ([\d.]+) ([\d.]+)\s*\]", data)
    assert len(sheets) > 1
    assert all(abs(float(w) - 595) < 2 and abs(float(h) - 842) < 2 for w, h in sheets)
    assert b"/StructTreeRoot" in data


def test_printed_pages_have_their_numbers(shown):
    """The rule that writes them changes what is drawn; printing twice does not."""
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", WHOLE["report.html"])
    bare, removed = re.subn(r"@bottom-right \{[^}]*\}", "", free)
    assert removed == 1
    prints = []
    for page in (free, free, bare):
        shown.show(page)
        prints.append(drawn(shown.printed()))
    assert prints[0] == prints[1]
    assert prints[0] != prints[2]


def drawn(data):
    """What the pages of a PDF draw."""
    found = []
    for one in re.findall(rb"stream\r?\n(.*?)endstream", data, re.DOTALL):
        try:
            found.append(zlib.decompress(one))
        except zlib.error:
            continue
    return b"".join(found)


def test_what_a_screen_reader_is_told(shown):
    """Landmarks, one heading of first order, pictures with their titles, tables with their captions as names."""
    shown.show(WHOLE["report.html"])
    nodes = shown.browser.ask("Accessibility.getFullAXTree")["nodes"]
    seen = [
        (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored") and "role" in node
    ]
    roles = [role for role, _ in seen]
    assert {"main", "navigation", "contentinfo", "banner"} <= set(roles)
    pictures = [name for role, name in seen if role in {"image", "img", "graphics-document"}]
    assert pictures == ["What share is ours", "Evidence of each export", "When the data was taken", "Persons by class of data", "Persons by table"]
    tables = [name for role, name in seen if role == "table"]
    assert len(tables) >= 8
    assert all(tables)


@pytest.fixture(scope="module")
def harmless(shown):
    """What Chromium builds of pages with harmless names."""
    plain = pages(kit.with_text(kit.whole(), "x"), kit.words_with("x"))
    return {name: shown.show(page)(CENSUS) for name, page in plain.items()}


@pytest.mark.parametrize(
    "text",
    [
        "</title></style></svg></table><script>document.title='run'</script>",
        "\"'><img src=x onerror=\"document.title='run'\">",
        "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
        "--><!--><math><mtext><table><mglyph><style><img src=x onerror=1>",
        "&lt;script&gt;&#x3c;b&#x3e;\u202e\u0000\ud800",
        "]]><![CDATA[<b>",
    ],
)
def test_the_browser_builds_the_same_page_whatever_names_say(shown, harmless, text):
    """Every element and attribute that Chromium builds is that of a page with harmless names, on all pages."""
    for name, page in pages(kit.with_text(kit.whole(), text), kit.words_with(text)).items():
        ask = shown.show(page)
        found, title = ask(CENSUS), ask("JSON.stringify(document.title)")
        assert found == harmless[name], name
        assert title != "run"
