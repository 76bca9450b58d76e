"""HTML and SVG as trees: text is text wherever it comes from, and is escaped when the tree is written.

Rules it keeps:

1. No markup is put together from strings: elements and attributes are named by this program, and everything else is a
   text or an attribute's value in a tree, which `xml.etree` escapes.
2. Characters that are invisible, reverse the order of others, or are no text at all show as U+FFFD.
3. Text from outside stands in `bdi`, so that its direction changes nothing beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree as ET

Node = ET.Element
Child = Node | str | int | None | Iterable["Child"]

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufdd0-\ufdef"
    "\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e0fff]"
)


def clean(text: str) -> str:
    """Text that shows all it holds."""
    return _UNSAFE.sub("\ufffd", text.replace("\r\n", "\n"))


def e(tag: str, *children: Child, **attributes: str | float | None) -> Node:
    """An element.

    Args:
        tag: Its name.
        children: Texts, numbers, elements, or several of them; None is left out.
        attributes: `class_` and `for_` stand for words of Python, `_` for `-`; None is left out.
    """
    node = ET.Element(tag)
    for name, value in attributes.items():
        if value is not None:
            node.set(name.rstrip("_").replace("_", "-"), clean(_number(value)))
    _add(node, children)
    return node


def _add(node: Node, children: Iterable[Child]) -> None:
    for child in children:
        if child is None:
            continue
        if isinstance(child, ET.Element):
            node.append(child)
        elif isinstance(child, str | int):
            text = clean(str(child))
            if len(node):
                node[-1].tail = (node[-1].tail or "") + text
            else:
                node.text = (node.text or "") + text
        else:
            _add(node, child)


def given(text: str) -> Node:
    """Text from outside: a name of a recipient, a file, a column."""
    return e("bdi", text)


def written(node: Node) -> str:
    """The tree as HTML text."""
    return ET.tostring(node, encoding="unicode", method="html")


def _number(value: str | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
