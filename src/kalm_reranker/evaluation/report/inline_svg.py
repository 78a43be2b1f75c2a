"""Makes matplotlib's SVG part of a page: its own ids, the page's font and colours, tooltips."""

import re
import xml.etree.ElementTree as ElementTree

from kalm_reranker.evaluation.report.figure import BACK, GRID, HUES, INK, MUTED, DrawnPlot

# Colours that the page sets, by what matplotlib writes.
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    BACK: "back",
    **{hue: f"hue{index}" for index, hue in enumerate(HUES)},
}
_COLOR = re.compile("|".join(_VARIABLES))
_FONT = re.compile(r"font: (?:(\w+) )?([\d.]+)px [^;]*")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def inline_svg(drawn: DrawnPlot) -> str:
    """Returns a plot as an `<svg>` element without namespaces, as HTML wants it."""
    root = ElementTree.fromstring(drawn.svg)
    prefix = f"{drawn.plot.name}-"
    _strip(root)
    for element in root.iter():
        _rewrite(element, prefix)
        tip = drawn.tips.get(element.get("id", "").removeprefix(prefix))
        if tip is not None:
            title = ElementTree.Element("title")
            title.text = tip
            element.insert(0, title)
    view = root.get("viewBox", "")
    root.attrib.clear()
    root.set("viewBox", view)
    root.set("role", "img")
    root.set("aria-label", drawn.plot.title)
    return ElementTree.tostring(root, encoding="unicode")


def _strip(element: ElementTree.Element) -> None:
    """Takes out metadata and style sheets, which would hold for the whole page."""
    for child in list(element):
        name = _local(child.tag)
        if name in ("metadata", "style"):
            element.remove(child)
        else:
            _strip(child)


def _rewrite(element: ElementTree.Element, prefix: str) -> None:
    element.tag = _local(element.tag)
    for name, value in list(element.attrib.items()):
        del element.attrib[name]
        plain = _local(name)
        if plain == "id":
            value = prefix + value
        elif plain == "href":
            value = f"#{prefix}{value.removeprefix('#')}"
        elif plain == "style":
            value = _COLOR.sub(lambda found: f"var(--{_VARIABLES[found[0]]})", value)
            value = _FONT.sub(_font, value)
        element.set(plain, _REFERENCE.sub(rf"url(#{prefix}\1)", value))


def _font(found: "re.Match[str]") -> str:
    weight = f"font-weight: {found[1]}; " if found[1] else ""
    return f"{weight}font-size: {found[2]}px"


def _local(name: str) -> str:
    return name.rpartition("}")[2]
