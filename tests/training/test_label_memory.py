import pytest

from mgrpo.errors import UserError
from mgrpo.training.label_memory import FILE_NAME, LabelMemory, PromptHistory, key_of


def visits(memory, *labels):
    for label in labels:
        yield from memory.visit(["p"], [label], "text")


def test_flips_in_a_row():
    seen = list(visits(LabelMemory(), "7", "4", "7", "7", "4"))
    assert [(s.num_flips, s.is_flip) for s in seen] == [(0, None), (1, True), (2, True), (0, False), (1, True)]


def test_no_vote_is_no_flip_and_leaves_the_last_label():
    seen = list(visits(LabelMemory(), None, "7", None, "7"))
    assert [(s.label, s.is_flip) for s in seen] == [(None, None), ("7", None), ("7", None), ("7", False)]


def test_is_as_it_was_after_a_checkpoint(tmp_path):
    memory, again = LabelMemory(), LabelMemory()
    list(visits(memory, "7", "4"))
    memory.visit(["q"], [None], "text")
    memory.save(tmp_path)
    again.load(tmp_path)
    assert (again["p"].label, again["p"].num_flips, again["q"].label) == ("4", 1, None)
    assert again["p"] == memory["p"] == PromptHistory("4", 1, True)


@pytest.mark.parametrize("text", [None, "{", "[1]", '{"p": 7}'])
def test_a_broken_file_is_named(tmp_path, text):
    if text is not None:
        (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(UserError, match="labels.json cannot be read .* resume from another checkpoint"):
        LabelMemory().load(tmp_path)


def test_prompts_have_different_keys():
    assert len({key_of("a"), key_of("b"), key_of([{"role": "user", "content": "a"}])}) == 3
    assert key_of([{"role": "user", "content": "a"}]) == key_of([{"content": "a", "role": "user"}])
