"""Chats as data sets hold them."""

import json

import pytest

from mgrpo.errors import UserError
from mgrpo.tasks import Task
from mgrpo.tasks.chat import as_messages
from mgrpo.tasks.load import make_prompts

CHAT = [{"role": "system", "content": "Think."}, {"role": "user", "content": "1 + 1?"}]
PARTS = [{"type": "text", "text": "1 + "}, {"type": "text", "text": "1?", "image": None}]
SHAREGPT = [{"from": "system", "value": "Think."}, {"from": "human", "value": "1 + 1?"}]


@pytest.mark.parametrize(
    "value",
    [
        CHAT,
        [{"content": "Think.", "role": "System", "name": "x"}, {"role": "user", "content": PARTS}],
        [CHAT[0], {"role": "user", "content": ["1 +", " 1?"]}],
        [CHAT[0], {"role": "user", "content": {"type": "text", "text": "1 + 1?"}}],
        SHAREGPT,
        [{**m, "role": None, "content": None} for m in SHAREGPT],  # a Parquet file has every key in every row
        json.dumps(CHAT),
        f" {json.dumps(SHAREGPT, indent=1)}\n",
        json.dumps({"id": 1, "messages": CHAT}),
        json.dumps({"conversations": SHAREGPT}, indent=1),
        {
            "role": ["system", "user"],
            "content": ["Think.", "1 + 1?"],
        },  # as `datasets` gives a sequence of dictionaries
    ],
)
def test_forms_of_one_chat(value):
    assert as_messages(value, "row 0") == CHAT
    with pytest.raises(UserError, match="row 0 of own holds a list of chat messages.*conversational: true"):
        make_prompts(Task({"prompt": [value]}), "own")
    assert make_prompts(Task({"prompt": [value]}, conversational=True), "own")["prompt"][:] == [CHAT]


@pytest.mark.parametrize(
    "value",
    ["1 + 1?", '{"messages": 3} holds?', "[1, 2] has which sum?", '[{"value": 3}] holds?', "", None, 7, float("nan")],
)
def test_what_is_no_chat(value):
    assert as_messages(value, "row 0") is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([CHAT[0], "1 + 1?"], "message 1 of the chat in row 3 of own is a str"),
        ([{"speaker": "user", "text": "1 + 1?"}], "message 0 .*row 3 of own has the keys speaker, text"),
        ([{"role": "user"}], "message 0 .*has the keys role"),
        ([{"role": 1, "content": "a"}], "message 0 .*has the keys role, content"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "row 3 .*part of type 'image_url'"),
        ([{"role": "user", "content": [{"type": "text"}]}], "row 3 of own holds a dict"),
        ([{"role": "user", "content": 7}], "row 3 of own holds a int"),
        ([{"role": "assistant", "content": "", "tool_calls": [{}]}, CHAT[1]], "row 3 of own calls tools"),
        (str({"messages": CHAT}), "row 3 of own looks like a chat, but is not JSON"),
        (json.dumps({"messages": [{"role": "user"}]}), "message 0 .*row 3 of own has the keys role"),
        (str(CHAT), "row 3 of own looks like a chat, but is not JSON"),
        ('[{"role": "user", "content": "a",}]', "row 3 of own looks like a chat, but is not JSON"),
        ({"messages": CHAT, "id": 1}, "row 3 of own is a dict with the keys messages, id.*prompt_column"),
    ],
)
@pytest.mark.parametrize("conversational", [True, False])
def test_what_cannot_be_read_is_refused_with_row_and_reason(value, reason, conversational):
    rows = [CHAT if conversational else "1 + 1?"] * 3 + [value]
    with pytest.raises(UserError, match=reason):
        make_prompts(Task({"prompt": rows}, conversational=conversational), "own")


@pytest.mark.parametrize("role", ["assistant", "Assistant", "gpt", "model"])
def test_a_chat_that_holds_its_answer_is_refused(role):
    rows = [CHAT, [*CHAT, {"role": role, "content": "2"}]]
    for form in (rows, [json.dumps(row) for row in rows]):
        with pytest.raises(UserError, match="row 1 of own ends with a message of the assistant"):
            make_prompts(Task({"prompt": form}, conversational=True), "own")
    several_turns = [*rows[1], {"role": "user", "content": "And 2 + 2?"}]
    assert make_prompts(Task({"prompt": [several_turns]}, conversational=True), "own")["prompt"][0][-2:] == [
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "And 2 + 2?"},
    ]


@pytest.mark.parametrize("last", [None, "", " ", []])
def test_a_chat_without_a_question_is_an_empty_prompt(last):
    chat = [CHAT[0], {"role": "user", "content": last}]
    assert make_prompts(Task({"prompt": [chat, []]}, conversational=True), "own")["prompt"][:] == [[], []]
