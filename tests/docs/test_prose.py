"""The prose of the documents, as far as it can be counted: short sentences and agreed words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.test_links import documents

_ROOT = Path(__file__).parents[2]

#: Most sentences should have 20 words or fewer; this is the limit for the others.
_MOST_WORDS = 27

#: Code, tables that a command writes, and HTML: none of it is prose.
_NOT_PROSE = re.compile(
    r"^```.*?^```|^ {4}.*?$|<!-- (\w+): .*?<!-- end.*?-->|<[^>]+>", re.DOTALL | re.MULTILINE
)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_CODE_SPAN = re.compile(r"`[^`\n]+`")
_END = re.compile(r"(?<=[.!?])[\"”)*]*\s+")

#: Words of docs/glossary.md that have a better word in every case.
_AVOIDED = re.compile(
    r"\b(tells?|told|somebody|nobody|whoever|outlook|unless you say|takes? in)\b", re.IGNORECASE
)


def blocks(text: str) -> Iterator[str]:
    """The paragraphs, list items, headings and table cells of a document, without code."""
    text = _CODE_SPAN.sub("code", _LINK.sub(r"\1", _NOT_PROSE.sub("", text)))
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        stripped = line.strip()
        begins = re.match(r"[-*#|]|\d+\. ", stripped)
        if (not stripped or begins) and block:
            yield " ".join(block)
            block = []
        if stripped.startswith("|"):
            yield from stripped.strip("|").split("|")
        elif stripped:
            block.append(stripped)


def sentences(text: str) -> Iterator[str]:
    for block in blocks(text):
        yield from _END.split(block)


def test_sentences_are_found_in_paragraphs_lists_and_tables() -> None:
    text = (
        "# A page\n\nOne. Two is `a. b`\nlong. (Three.)\n\n- four\n- five\n\n"
        "| six | seven. Eight |\n"
    )
    found = [" ".join(each.split()) for each in sentences(text)]
    assert found == [
        *("# A page", "One.", "Two is code long.", "(Three.)"),
        *("- four", "- five", "six", "seven.", "Eight"),
    ]


def test_code_and_written_tables_are_no_prose() -> None:
    text = (
        "```console\n$ told\n```\n\n    told\n\n<!-- cpu: by -->\ntold\n<!-- end of cpu -->\nend\n"
    )
    assert list(sentences(text)) == ["end"]


@pytest.mark.parametrize("document", documents())
def test_no_sentence_is_long(document: str) -> None:
    text = (_ROOT / document).read_text()
    long = [each for each in sentences(text) if len(re.findall(r"\w[^\s]*", each)) > _MOST_WORDS]
    assert not long, f"{document}: more than {_MOST_WORDS} words: {long}"


@pytest.mark.parametrize("document", documents())
def test_words_of_the_glossary_are_used(document: str) -> None:
    prose = (_ROOT / document).read_text()
    if document == "docs/glossary.md":
        prose, _, _ = prose.partition("## Words that we avoid")
    avoided = [each for each in sentences(prose) if _AVOIDED.search(each)]
    assert not avoided, f"{document}: see the end of docs/glossary.md: {avoided}"
