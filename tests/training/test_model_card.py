"""The card that a run leaves, as a person and as the Hub reads it."""

import pytest
import yaml

from mgrpo.training.model_card import model_card


@pytest.fixture
def card(make_config):
    """Writes a card; its metadata and its text."""

    def write(model="Qwen/Qwen3-4B", task="gsm8k", is_adapter=False, **settings):
        _, header, text = model_card(make_config(**settings), "mine", model, task, is_adapter=is_adapter).split(
            "---\n"
        )
        return yaml.safe_load(header), text

    return write


def test_a_card_names_base_method_labels_task_and_paper(card):
    header, text = card(label_source="joined", momentum=0.99)
    assert header["base_model"] == "Qwen/Qwen3-4B" and header["library_name"] == "transformers"
    assert {"mgrpo", "trl"} <= set(header["tags"])
    assert "# mine\n\n[Qwen/Qwen3-4B](https://huggingface.co/Qwen/Qwen3-4B), trained with M-GRPO ([arXiv 2512" in text
    assert "2512.13070)), without its entropy filter" in text
    assert "| task | `gsm8k` |" in text and "| momentum | 0.99 |" in text and "`label_source: joined`" in text
    assert "6 from the policy, 2 from the momentum model" in text and "| entropy filter | none |" in text
    assert "https://github.com/huggingface/trl" in text and "eprint = {2512.13070}" in text
    assert "None" not in text and "DeepSeekMath" not in text


def test_an_adapter_is_peft_s(card):
    assert card(is_adapter=True)[0]["library_name"] == "peft"


@pytest.mark.parametrize(
    ("settings", "method"),
    [
        ({"label_source": "policy", "num_momentum_generations": 0}, "a label-free variant of M-GRPO"),
        ({"label_source": "momentum"}, "a label-free variant of M-GRPO"),
        ({"reward": "random"}, "a label-free variant of M-GRPO"),
        ({"label_source": "gold", "num_momentum_generations": 0}, "GRPO on ground truth, a baseline of M-GRPO"),
    ],
)
def test_other_methods_are_not_called_m_grpo(card, settings, method):
    assert f"trained with {method}" in card(**settings)[1]


def test_settings_that_are_off_and_on(card):
    text = card(label_source="policy", num_momentum_generations=0)[1]
    assert "| momentum | no momentum model |" in text and "0 from the momentum model" in text
    filtered = card(iqr_multiplier=0.75)[1]
    assert "| entropy filter | IQR, multiplier 0.75 |" in filtered and "without its entropy filter" not in filtered


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("/home/me/runs/mine/final", "`mine/final`"),
        ("~/models/small.gguf", "`models/small.gguf`"),
        ("embedded", "`embedded`"),
        (None, "a model of the caller"),
    ],
)
def test_a_local_model_is_no_link_and_no_path(card, model, shown):
    header, text = card(model)
    assert "base_model" not in header
    assert f"\n{shown}, trained" in text and "huggingface.co" not in text and "/home" not in text


def test_smollm2_is_called_what_the_hub_calls_it(card):
    assert card("smollm2")[0]["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_a_directory_that_looks_like_a_hub_name(card, tmp_path, monkeypatch):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "base_model" not in card("models/mine")[0]


@pytest.mark.parametrize(
    ("task", "shown"),
    [
        ("file:/home/me/questions.jsonl", "`file:questions.jsonl`"),
        ("math:data/math500.jsonl", "`math:math500.jsonl`"),
        ("hub:me/questions", "`hub:me/questions`"),
        (None, "a data set of the caller"),
    ],
)
def test_a_task_is_shown_without_its_path(card, task, shown):
    assert f"| task | {shown} |" in card(task=task)[1]
