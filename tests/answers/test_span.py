"""Which tokens are the answer: with the embedded model's tokenizer, a character a token, and a byte-pair one."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from mgrpo.answers import boxed, get_extractor
from mgrpo.answers.span import answer_tokens
from mgrpo.embedded.model import build_tokenizer
from mgrpo.embedded.task import extract_answer


@pytest.fixture(scope="module")
def byte_pairs():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([r"So the answer is \boxed{12} apples, so \boxed{12}."] * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="Z")


def spelt(tokenizer, text, extractor):
    ids = tokenizer(text)["input_ids"]
    span = answer_tokens(ids, extractor(text), extractor, tokenizer)
    return tokenizer.decode(ids[span.start : span.stop]), span


def test_a_chains_answer_is_its_last_two_digits():
    text, span = spelt(build_tokenizer(), "606060#60", extract_answer)
    assert (text, span) == ("60", range(7, 9))


@pytest.mark.parametrize(
    ("text", "answer", "before"),
    [
        (r"So the answer is \boxed{12}.", "12", r"So the answer is \boxed{"),
        (r"12, no, \boxed{12} apples of 12 kinds", "12", r"12, no, \boxed{"),
        (r"\boxed{é} é", "é", r"\boxed{"),  # two bytes, two tokens
    ],
)
def test_what_stands_in_the_box(byte_pairs, text, answer, before):
    spelling, span = spelt(byte_pairs, text, boxed)
    ids = byte_pairs(text)["input_ids"]
    assert answer in spelling
    assert len(byte_pairs.decode(ids[: span.start])) <= len(before)
    assert byte_pairs.decode(ids[: span.stop]).startswith(before + answer)


def test_an_answer_that_is_said_twice_is_where_it_is_said_last(byte_pairs):
    text, span = spelt(byte_pairs, "It is 7. Yes, 7!", get_extractor("number"))
    assert "7" in text
    assert "Yes" in byte_pairs.decode(byte_pairs("It is 7. Yes, 7!")["input_ids"][: span.start])


@pytest.mark.parametrize("answer", [None, "", "sixty"])
def test_nothing_to_mask(answer):
    tokenizer = build_tokenizer()
    assert len(answer_tokens(tokenizer("6#60")["input_ids"], answer, extract_answer, tokenizer)) == 0


def test_an_extractor_that_fails_on_what_is_left(byte_pairs):
    def only_whole(text):
        return {"x 5 y": "5"}[text]

    text, _ = spelt(byte_pairs, "x 5 y", only_whole)
    assert "5" in text
