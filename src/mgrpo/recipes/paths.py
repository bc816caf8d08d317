"""The fields of a recipe that may name files or directories, and their paths from the root of the file system."""

from collections.abc import Callable
from typing import Any

from mgrpo.models import source as models
from mgrpo.options import absolute_path
from mgrpo.tasks import registry as tasks

AUTO, FORCE = "auto", "force"
"""Values of `resume`; others are a checkpoint's directory."""

PATHS: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(("output_dir", "rescue_dir", "vllm_server_log", "eval_benchmarks_data"), absolute_path),
    **dict.fromkeys(("accelerator_config", "deepspeed", "fsdp_config"), absolute_path),
    **dict.fromkeys(("task", "eval_task", "eval_benchmarks"), tasks.absolute_name),
    "model_name_or_path": models.absolute_name,
    "resume": lambda value: value if value in (AUTO, FORCE) else absolute_path(value),
}
"""Fields, and what makes a path in their values absolute."""


def with_absolute_paths(name: str, value: Any) -> Any:
    """A field's value, in which a path begins at the root of the file system.

    Raises:
        UserError: for the home directory of a user who does not exist.
    """
    if name not in PATHS or not isinstance(value, str | list):
        return value
    return PATHS[name](value) if isinstance(value, str) else [PATHS[name](word) for word in value]
