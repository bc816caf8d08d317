"""YAML and JSON in recipes, studies and command lines."""

import json
from typing import Any

from mgrpo.errors import UserError


def read_flow(text: str) -> Any:
    """Read a mapping or a list on one line, as JSON or as YAML: {num_terms: 3}.

    Raises:
        ValueError: if it is neither, or a name has no value.
    """
    try:
        return json.loads(text)  # which, unlike YAML 1.1, reads 1e-6 as a number
    except ValueError:
        read = read_yaml(text)
    if isinstance(read, dict) and any(value is None and ":" in str(name) for name, value in read.items()):
        raise ValueError("a colon without a space: {num_terms:3}")
    return read


def read_yaml(text: str) -> Any:
    """Read YAML in which no mapping sets a key twice; `<<` may merge others into it.

    Raises:
        ValueError: for invalid YAML, with the reason.
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

    try:
        return yaml.load(text, UniqueKeyLoader)
    except UserError:
        raise
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no date, 2026-02-30
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
