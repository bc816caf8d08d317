"""Chats in the forms that data sets hold them, as messages of a role and a text."""

import json
import re
from collections.abc import Mapping
from typing import Any

from mgrpo.errors import UserError

Message = dict[str, str]

ROLES = {"human": "user"} | dict.fromkeys(["gpt", "chatgpt", "ai", "bot", "model", "function_call"], "assistant")
"""Other names of roles."""
CHAT_TEXT = re.compile(r"""\s*\[\s*\{\s*["'](role|from|content|value)["']\s*:.*["'].*\]\s*""", re.DOTALL)
OUTER_KEY = re.compile(r"""\s*\{.*?["'](messages|conversations?)["']\s*:\s*\[\s*\{""", re.DOTALL)
ROLE_KEY = re.compile(r"""["'](role|from)["']\s*:""")


def as_messages(value: Any, place: str) -> list[Message] | None:
    """A chat's messages, each with a role (`user`, `assistant`, `system`, ...) and a text.

    Args:
        value: a list of `{role, content}` or, as ShareGPT has them, of `{from, value}`; the same as JSON text, also
            under a key such as `messages`, or as a dictionary of lists. Contents are text or parts of type text.
        place: what messages call the row.

    Returns:
        The messages; None where the value is a text that is no chat, a number or null.

    Raises:
        UserError: if it is a chat that cannot be read, or neither chat nor text.
    """
    if isinstance(value, str):
        outer = OUTER_KEY.match(value)
        if not (outer or CHAT_TEXT.fullmatch(value)) or not ROLE_KEY.search(value):
            return None
        try:
            value = json.loads(value)
            value = value.get(outer[1], value) if outer else value
        except (ValueError, RecursionError) as error:
            raise UserError(f"{place} looks like a chat, but is not JSON ({error}); write it as JSON") from error
    if value is None or isinstance(value, int | float):
        return None
    if isinstance(value, Mapping) and value and all(isinstance(values, list) for values in value.values()):
        value = [dict(zip(value, row, strict=False)) for row in zip(*value.values(), strict=False)]
    if not isinstance(value, list):
        keys = f" with the keys {', '.join(map(str, value))}" if isinstance(value, Mapping) else ""
        raise UserError(
            f"the prompt in {place} is a {type(value).__name__}{keys}, neither text nor a list of chat messages; set "
            "prompt_column to a column of these (COLUMN.KEY inside a dictionary)"
        )
    return [_message(message, f"message {number} of the chat in {place}") for number, message in enumerate(value)]


def _message(message: Any, place: str) -> Message:
    if not isinstance(message, Mapping):
        raise UserError(f"{place} is a {type(message).__name__}; write {{role, content}} or {{from, value}}")
    role = message.get("role") or message.get("from")
    if not isinstance(role, str) or not {"content", "value"} & set(message):
        keys = ", ".join(map(str, message)) or "none"
        raise UserError(f"{place} has the keys {keys}; write {{role, content}} or {{from, value}}")
    if message.get("tool_calls"):
        raise UserError(f"{place} calls tools, which cannot be trained; leave this row out")
    content = message.get("value") if message.get("content") is None else message["content"]
    role = role.strip().lower()
    return {"role": ROLES.get(role, role), "content": _text(content, place)}


def _text(content: Any, place: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else [content]
    texts = []
    for part in parts:
        text, kind = (part.get("text"), part.get("type", "text")) if isinstance(part, Mapping) else (part, "text")
        if not isinstance(text, str) or kind not in ("text", "input_text"):
            what = f"a {type(part).__name__}" if kind == "text" else f"a part of type {kind!r}"
            raise UserError(f"{place} holds {what}; only text can be read, so leave this row out")
        texts.append(text)
    return "".join(texts)
