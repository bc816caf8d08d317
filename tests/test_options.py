"""Values as YAML and command lines give them, on the fields of a recipe: every kind of type that TRL uses."""

import math

import pytest
from trl import TrlParser

from mgrpo.errors import UserError
from mgrpo.evaluation.protocols import SamplingSettings
from mgrpo.options import COMMAND_LINE, Range, options_of, plain, read_value, read_words
from mgrpo.recipes.recipe import RECIPE_TYPES

OPTIONS = options_of(*RECIPE_TYPES)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("learning_rate", "1e-6", 1e-6),  # YAML 1.1 reads 1e-6 as text
        ("learning_rate", 1, 1.0),
        ("max_steps", "-1", -1),
        ("max_steps", 600.0, 600),
        ("max_completion_length", "14", 14),
        ("iqr_multiplier", "none", None),
        ("iqr_multiplier", None, None),
        ("iqr_multiplier", "0.5", 0.5),
        ("eval_task", "null", None),
        ("report_to", "none", "none"),
        ("report_to", ["wandb", "trackio"], ["wandb", "trackio"]),  # None | str | list[str]
        ("gradient_checkpointing", "false", False),  # on by default
        ("gradient_checkpointing", "true", True),
        ("bf16", True, True),  # bool | None, as `--bf16` alone gives it
        ("share_prompts", "false", "false"),
        ("share_prompts", True, "true"),  # as YAML gives it
        ("conversational", "yes", True),
        ("use_cpu", 1, True),
        ("eval_strategy", False, "no"),  # YAML 1.1 reads no as false
        ("eval_strategy", "steps", "steps"),  # IntervalStrategy | str
        ("on_bad_prompt", "refuse", "refuse"),  # Literal
        ("trackio_static_space_id", "me/space", "me/space"),  # str | None | Literal[False]
        ("debug", "underflow_overflow", "underflow_overflow"),  # str | list[DebugOption]
        ("output_dir", 7, "7"),
        ("run_name", "true", "true"),
        ("lora_target_modules", ["q_proj", "v_proj"], ["q_proj", "v_proj"]),
        ("reward_funcs", "mine:length", ["mine:length"]),
        ("reward_weights", ["1", 2], [1.0, 2.0]),
        ("pad_to_multiple_of", 8, 8),  # int | str | None
        ("lr_scheduler_kwargs", {"num_cycles": 2}, {"num_cycles": 2}),  # dict | str | None
        ("lr_scheduler_kwargs", '{"num_cycles": 2}', {"num_cycles": 2}),
        ("liger_kernel_config", '{"rope": false}', {"rope": False}),  # dict[str, bool] | None
        ("task_options", '{"num_agents": 3}', {"num_agents": 3}),
        ("task_options", "{num_terms: 3}", {"num_terms": 3}),  # YAML, as messages write it
        ("task_options", "{a: {b: [1, x]}}", {"a": {"b": [1, "x"]}}),
        ("generation_kwargs", '{"p": 1e-6}', {"p": 1e-6}),
        ("lora_target_modules", "[q_proj, v_proj]", ["q_proj", "v_proj"]),
        ("answer_extractor", "regex:[0-9]", "regex:[0-9]"),
        ("task_options", "null", None),
        ("task_options", "none", None),
        ("task_options", "None", None),
        ("iqr_multiplier", "None", None),
        ("eval_task", "None", None),
        ("run_name", "none", None),
        ("report_to", "None", "none"),
        ("prompt_template", "", ""),  # no template, which is not the task's own
        ("prompt_template", "null", None),
        ("conversational", "null", None),
    ],
)
def test_values(name, given, expected):
    read = read_value(name, given, OPTIONS, "mine.yaml")
    assert read == expected and type(read) is type(expected)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("learning_rate", "abc", "mine.yaml sets learning_rate to 'abc', but it must be a number"),
        ("learning_rate", "nan", "sets learning_rate to 'nan', but it must be a number"),
        ("learning_rate", math.nan, "sets learning_rate to nan, but it must be a number"),
        ("learning_rate", [1, 2], "sets learning_rate to [1, 2], but it must be a number"),
        ("learning_rate", True, "sets learning_rate to True, but it must be a number"),
        ("learning_rate", {"a": 1}, "but it must be a number"),
        ("learning_rate", -1e-6, "mine.yaml sets learning_rate to -1e-06; it must be a number, 0 or more"),
        ("num_generations", "1.5", "sets num_generations to '1.5', but it must be a whole number"),
        ("num_generations", 1.5, "sets num_generations to 1.5, but it must be a whole number"),
        ("num_generations", None, "sets num_generations to none, but it must be a whole number, 2 or more"),
        ("momentum", None, "sets momentum to none, but it must be a number"),
        ("momentum", "none", "sets momentum to none, but it must be a number"),
        ("iqr_multiplier", -1, "sets iqr_multiplier to -1; it must be a number, 0 or more, or none"),
        ("use_cpu", "maybe", "sets use_cpu to 'maybe', but it must be true or false"),
        ("use_cpu", 2, "sets use_cpu to 2, but it must be true or false"),
        ("gradient_checkpointing", "maybe", "but it must be true or false"),
        ("prompt_column", True, "sets prompt_column to True, but it must be text (in quotes)"),
        ("prompt_column", ["a", "b"], "sets prompt_column to ['a', 'b'], but it must be text"),
        ("prompt_column", "a\0b", r"sets prompt_column to 'a\x00b', which holds a NUL byte; remove it"),
        ("reward_funcs", [["a:f"]], "sets reward_funcs to [['a:f']]"),
        ("lr_scheduler_kwargs", "{a", "but it must be a mapping, {NAME: value}"),
        ("task_options", "{a: 1, a: 2}", "but it must be a mapping"),
        ("task_options", "{num_terms:3}", "but it must be a mapping, {NAME: value}"),
        ("task_options", "num_agents", "sets task_options to 'num_agents', but it must be a mapping, {NAME: value}"),
        ("on_bad_prompt", "skip", "sets on_bad_prompt to 'skip'; it must be one of drop, refuse"),
        ("eval_strategy", "step", "sets eval_strategy to 'step'; did you mean steps?"),
        ("eval_strategy", True, "sets eval_strategy to True; it must be one of no, steps, epoch"),
        ("optim", "adamw", "sets optim to 'adamw'; did you mean adamw_torch?"),
        ("lr_scheduler_type", "cosin", "did you mean cosine?"),
        ("dtype", "fp16", "it must be one of auto, bfloat16, float16, float32"),
        ("report_to", "wandbb", "did you mean wandb?"),
        ("report_to", ["trackio", "wandbb"], "sets report_to to ['trackio', 'wandbb']; it must be one of none, all"),
    ],
)
def test_mistakes(name, given, message):
    with pytest.raises(UserError) as error:
        read_value(name, given, OPTIONS, "mine.yaml")
    assert message in str(error.value)


def test_the_options_of_an_evaluation():
    options = options_of(SamplingSettings)
    text = dict.fromkeys(options, "1") | {"temperature": "0.5", "conversational": "false"}
    text["chat_template_kwargs"] = '{"enable_thinking": false}'
    read = {name: read_value(name, value, options, COMMAND_LINE) for name, value in text.items()}
    assert (read["k"], read["temperature"], read["conversational"]) == (1, 0.5, False)
    assert read["chat_template_kwargs"] == {"enable_thinking": False}
    SamplingSettings(**read)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("k", "four", "a whole number"),
        ("k", "0", "1 or more"),
        ("conversational", "maybe", "true or false"),
        ("chat_template_kwargs", "[]", "a mapping"),
    ],
)
def test_options_of_an_evaluation_of_another_kind(name, value, kind):
    with pytest.raises(UserError) as error:
        read_value(name, value, options_of(SamplingSettings), COMMAND_LINE)
    assert f"the command line sets {name} to {value!r}" in str(error.value) and kind in str(error.value)


def test_an_option_without_a_value():
    with pytest.raises(UserError, match="the command line has --seed without a value; it must be a whole number"):
        read_value("seed", True, OPTIONS, COMMAND_LINE)


def test_words_of_a_command_line():
    assert read_words(["--a", "1", "--b=x=y", "--c", "--d", "-1", "2", "--e="]) == {
        "a": "1",
        "b": "x=y",
        "c": True,
        "d": ["-1", "2"],
        "e": "",
    }
    assert read_words(["--t", "--- {prompt}", "--u", "- {prompt}", "--v", "--", "--w=--- x\ny"]) == {
        "t": "--- {prompt}",
        "u": "- {prompt}",
        "v": "--",
        "w": "--- x\ny",
    }
    assert read_words(["--a", "1", "--a", "2"]) == {"a": "2"}
    assert read_words([]) == {}
    with pytest.raises(UserError, match="'x' without a field; write --FIELD x"):
        read_words(["x", "--a", "1"])


@pytest.mark.parametrize(
    ("limits", "inside", "outside", "words"),
    [
        ({"min": 0}, [0, 1e9], [-1e-9, math.nan], "0 or more"),
        ({"above": 0}, [1e-9, 1e300], [0, math.inf, math.nan], "above 0"),
        ({"min": 0, "max": 1}, [0, 1], [-0.1, 1.1, math.nan], "from 0 to 1"),
        ({"min": 0, "below": 1}, [0, 0.99], [1, math.nan], "0 or more and below 1"),
        ({"above": 0, "max": 1}, [0.1, 1], [0, 1.1], "above 0 and at most 1"),
    ],
)
def test_ranges(limits, inside, outside, words):
    of_limits = Range(**limits)
    assert all(value in of_limits for value in inside)
    assert not any(value in of_limits for value in outside)
    assert str(of_limits) == words


def test_every_option_of_ours_says_what_it_does():
    ours = [name for type_ in RECIPE_TYPES[:2] for name in type_.__annotations__]
    assert len(ours) > 60
    assert all(len(OPTIONS[name].help) > 10 for name in ours)


def test_values_as_yaml_holds_them():
    strategy = OPTIONS["save_strategy"].default
    assert plain(strategy) == "steps" and type(plain(strategy)) is str
    assert plain([strategy, 1, None]) == ["steps", 1, None]


def test_trl_s_parser_takes_our_dataclasses(capsys):
    """Scripts of users' own parse them so; argparse must know all that is in the metadata."""
    words = ["--output_dir", "out", "--use_cpu", "true", "--bf16", "false"]
    _, config, _ = TrlParser(RECIPE_TYPES).parse_args_and_config([*words, "--momentum", "0.5"])
    assert config.momentum == 0.5
    with pytest.raises(SystemExit) as end:
        TrlParser(RECIPE_TYPES).parse_args_and_config([*words, "--momentum", "1.5"])
    assert end.value.code == 2
    assert "from 0 to 1" in capsys.readouterr().err
    TrlParser(RECIPE_TYPES).format_help()
