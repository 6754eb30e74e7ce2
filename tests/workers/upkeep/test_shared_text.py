"""The main process of a worker reads what a pool process has written."""

from __future__ import annotations

from multiprocessing import get_context

from workers.upkeep.shared_text import SharedText


def test_the_parent_reads_the_text_of_a_forked_process() -> None:
    text = SharedText()
    assert text.read() == ""
    for written in ("a model with a long name: Größe", "short"):
        child = get_context("fork").Process(target=text.write, args=(written,))
        child.start()
        child.join()
        assert text.read() == written
