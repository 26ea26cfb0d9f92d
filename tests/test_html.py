"""chipper.html: names are escaped and never become markup of the page."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from chipper.html import Markup, code, joined, table, tag, text


class Reader(HTMLParser):
    """Keeps tags, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])) | st.sampled_from(
    ["<script>alert(1)</script>", '" onload="alert(1)', "' x='", "&lt;b&gt;", "</title>", "<!--", "]]>", "größe 猫"]
)


@given(names)
def test_any_name_stays_text(name: str) -> None:
    read = Reader(tag("p", name, title=name, class_="x"))
    assert read.tags == [("p", {"title": name, "class": "x"})]
    assert read.words == name


def test_what_no_page_may_hold() -> None:
    assert text("a\x00b\x1b[31m\x85") == "a\ufffdb\ufffd[31m\ufffd"
    assert text(Markup("<b>")) == "<b>"
    assert tag("meta", http_equiv="x", content=None) == '<meta http-equiv="x">'
    assert joined(["<", tag("br")]) == "&lt;<br>"
    assert code("<x>") == '<code class="short">&lt;x&gt;</code>'


def test_tables_scroll_and_say_what_they_are() -> None:
    read = Reader(table(("file", "chips"), [("<b>", "1,234")], "Most <chips>"))
    names = [name for name, _ in read.tags]
    assert names[:2] == ["div", "table"]
    assert read.tags[0][1]["aria-label"] == "Most <chips>"
    assert read.tags[0][1]["tabindex"] == "0"
    assert names.count("th") == names.count("td") == 2
    assert "b" not in names
    assert [a for n, a in read.tags if n == "td"] == [{"class": "first"}, {"class": "number"}]
