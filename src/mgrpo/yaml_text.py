"""YAML and JSON in recipes, studies and command lines."""

import json
import re
from itertools import accumulate
from typing import Any

from mgrpo.errors import UserError

MAX_NODES, MAX_DEPTH = 100_000, 100
"""Of a file's values, aliases resolved."""


def read_flow(text: str) -> Any:
    """Read a mapping or a list on one line, as JSON or as YAML: {num_terms: 3}.

    Raises:
        ValueError: if it is neither, or a name has no value.
    """
    try:
        return json.loads(text)  # which, unlike YAML 1.1, reads 1e-6 as a number
    except (ValueError, RecursionError):
        read = read_yaml(text)
    if isinstance(read, dict) and any(value is None and ":" in str(name) for name, value in read.items()):
        raise ValueError("a colon without a space: {num_terms:3}")
    return read


def read_yaml(text: str) -> Any:
    """Read YAML in which no mapping sets a key twice; `<<` may merge others into it.

    Raises:
        ValueError: for invalid YAML, with the reason; for more than `MAX_NODES` values, those of aliases included.
        UserError: for a key that is set twice, with both lines; a sentence without its subject.
    """
    import yaml

    class UniqueKeyLoader(yaml.SafeLoader):
        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            lines: dict[Any, int] = {}
            for key_node, _ in node.value:
                if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                    continue
                key, line = self.construct_object(key_node), key_node.start_mark.line + 1
                if key in lines:
                    raise UserError(
                        f"sets {key_node.value} twice, on lines {lines[key]} and {line}; remove one of them."
                    )
                lines[key] = line
            return node

        def get_single_node(self) -> Any:
            node = super().get_single_node()
            _measure(node, {})
            return node

    opened = accumulate(1 if bracket in "[{" else -1 for bracket in re.findall(r"[][{}]", text))
    try:
        if max(opened, default=0) > MAX_DEPTH:  # for which PyYAML takes seconds
            raise RecursionError
        return yaml.load(text, UniqueKeyLoader)
    except UserError:
        raise
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except Exception as error:  # a value that is none of its type fails in any way: 2026-02-30, !!bool maybe
        raise ValueError(" ".join(str(error).split())) from error


def _measure(node: Any, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many values a node of YAML stands for, and their levels; an alias counts for all that it repeats."""
    if id(node) not in known:
        known[id(node)] = MAX_NODES, MAX_DEPTH  # where it contains itself
        value = node.value if node is not None and not isinstance(node.value, str) else ()
        inner = [_measure(part, known) for item in value for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(num for num, _ in inner), 1 + max((depth for _, depth in inner), default=0)
        if known[id(node)][0] > MAX_NODES:
            raise ValueError(f"its aliases stand for more than {MAX_NODES:,} values")
        if known[id(node)][1] > MAX_DEPTH:
            raise RecursionError
    return known[id(node)]
