"""The generators of reasoning-gym: what is right, what is the same, what is refused, and that nothing hostile runs."""

import json
import random
import time
from functools import cache

import pytest
from datasets import Dataset

from mgrpo.answers import answer_ids, worker
from mgrpo.answers.worker import Failed, in_workers
from mgrpo.errors import UserError
from mgrpo.tasks import reasoning_gym as module
from mgrpo.tasks import reasoning_gym_worker
from mgrpo.tasks.reasoning_gym import GENERATORS, reasoning_gym, score
from mgrpo.tasks.reasoning_gym_worker import is_right
from mgrpo.tasks.registry import load_task
from mgrpo.tasks.split import split_of

factory = pytest.importorskip("reasoning_gym.factory", reason="the extra [tasks] is not installed")

NAMES = [name for name in GENERATORS if name != "composite"]
VOTABLE = [name for name in NAMES if GENERATORS[name].votable]
CHECKED = [name for name in NAMES if GENERATORS[name].is_checked]
WITHOUT_GOLD = ["boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"]
SMALLER = {"futoshiki": {"max_board_size": 4}, "zebra_puzzles": {"num_people": 3, "num_characteristics": 3}}
"""Options that make the slow ones quick."""


@cache
def golds_of(name, size=3):
    return list(reasoning_gym(name, split="train", size=size, seed=0, **SMALLER.get(name, {})).columns["answer"])


def gold_without_answer(name, **options):
    return {"answer": "", "generator": name, "options": json.dumps(options), "seed": 0, "index": 0}


def metadata_of(gold):
    item = reasoning_gym_worker._item(gold["generator"], gold["options"], gold["seed"], gold["index"])
    return item["metadata"]


def test_every_generator_has_a_form():
    assert sorted(GENERATORS) == sorted(factory.DATASETS)


# --- what is right ---


@pytest.mark.parametrize("name", NAMES)
def test_the_gold_answer_is_right(name):
    for gold in golds_of(name):
        answers = [gold["answer"] or "unknown", "no such answer", None, ""]
        assert score(answers, gold) == [gold["answer"] != "", False, False, False]


@pytest.mark.parametrize("name", [name for name in CHECKED if name not in WITHOUT_GOLD])
def test_the_checker_passes_the_gold_answer(name):
    for gold in golds_of(name):
        assert is_right(gold["answer"], gold)
        assert not is_right("no such answer", gold)


def test_the_checkers_where_there_is_no_gold_answer():
    assert [name for name in NAMES if golds_of(name)[0]["answer"] == ""] == WITHOUT_GOLD

    gold = gold_without_answer("boxnet", colour_list=["red"], max_row_num=1, max_column_num=2)
    assert metadata_of(gold)["initial_state"] == {"0.5_0.5": ["target_red"], "0.5_1.5": ["box_red"]}
    there = '{"Agent[0.5, 1.5]": "move(box_red, square[0.5, 0.5])"}'
    home = '{"Agent[0.5, 0.5]": "move(box_red, target_red)"}'
    assert score([f"[{there}, {home}]", f"[{there}]", f"[{home}]"], gold) == [True, False, False]

    gold = gold_without_answer("rush_hour", min_moves=1, max_moves=1)  # the red car alone, at the left
    assert score(["A+4", "A+3", "A+2 A+2"], gold) == [True, False, True]

    gold = gold_without_answer("rubiks_cube")
    moves = metadata_of(gold)["scramble_moves"].split()
    undone = " ".join(move[0] if move.endswith("'") else f"{move}'" for move in reversed(moves))
    assert score([undone, f"{undone} U", f"{undone} U U'"], gold) == [True, False, True]

    gold = gold_without_answer("graph_color")
    coloring = metadata_of(gold)["possible_answer"]
    assert score([json.dumps(coloring), json.dumps(dict.fromkeys(coloring, 1))], gold) == [True, False]

    gold = gold_without_answer("propositional_logic")
    first, *_ = metadata_of(gold)["premises"]
    assert first == "(Q ∧ R)"
    assert score([first, "R ∧ Q", "P", "(P ∨ ¬P)"], gold) == [True, True, False, False]


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("coin_flip", ["0.24609375", "63/256", "0.2461", "2.461e-1"], ["0", "0.2", "0.25", "63/0", "1e99999999"]),
        ("puzzle24", ["3*(10+7-9)", "(10 + 7 - 9) * 3", "-3*(9-10-7)"], ["24", "6*4*1*1", "10+7+9-3", "3*(10+7-9)+0"]),
        ("countdown", ["94*4 - 61 - 6", "-6-61+4*94"], ["309", "94*4-67", "94*4 - 61 - 6 + 0", "94*4 - 61 - 6 = 309"]),
        ("codeio", ['{"b":[1, 2.0],"a":1}'], ['{"a": 1}', '{"a": 1, "b": [2, 1]}', "{", "1"]),
    ],
)
def test_checkers_in_the_place_of_those_that_evaluate_or_pass_wrong_answers(name, right, wrong, monkeypatch):
    gold = {"coin_flip": "0.24609375", "codeio": '{"a": 1, "b": [1, 2]}'}
    numbers = {"puzzle24": {"numbers": [10, 7, 9, 3]}, "countdown": {"numbers": [6, 61, 94, 4], "target": 309}}
    monkeypatch.setattr(reasoning_gym_worker, "_item", lambda *_: {"metadata": numbers[name]})
    item = {**gold_without_answer(name), "answer": gold.get(name, "")}
    assert [is_right(answer, item) for answer in right] == [True] * len(right)
    assert [is_right(answer, item) for answer in wrong] == [False] * len(wrong)


def test_any_placing_of_the_queens_is_right():
    gold = next(
        gold
        for index in range(100)
        if len(metadata_of(gold := {**gold_without_answer("n_queens"), "index": index})["valid_answers"]) > 1
    )
    first, second, *_ = metadata_of(gold)["valid_answers"]
    assert score([first, second, first.replace(" ", ", "), first.replace("Q", "_", 1)], gold) == [True] * 3 + [False]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("simple_integration", lambda gold: gold.replace("+ C", "+ 7 + C")),
        ("intermediate_integration", lambda gold: f"{gold} - 3"),
        ("power_function", lambda gold: f"{float(gold):.2e}"),
        ("decimal_arithmetic", lambda gold: str(round(float(gold), 6))),
        ("word_ladder", lambda gold: ", ".join(gold.lower().split(","))),
        ("tower_of_hanoi", lambda gold: gold.replace("\n", "\n\n")),
        ("jugs", lambda gold: gold.replace("[", '["fill A", "empty A", ')),
        ("sokoban", lambda gold: f"{gold} "),
    ],
)
def test_a_checker_passes_other_right_answers(name, change):
    for gold in golds_of(name):
        assert score([change(gold["answer"])], gold) == [True]


# --- what is the same ---

UNQUOTED = str.maketrans("", "", "[]'\"")
SPELLINGS = {
    "words": lambda a: [a.upper(), f"  {a}\n", f'"{a}."', f"**{a}**", "  ".join(a.split(" "))],
    "number": lambda a: [f"{a}.0"] if a.lstrip("-").isdigit() else [f" {a} ", f"${a}$"],
    "list": lambda a: [f"[{a}]", f"({a})", a.translate(UNQUOTED), a.replace(", ", ","), a.lower(), f"{a}\n"],
    "set": lambda a: [f"[{a}]", a.translate(str.maketrans(";×'", ',*"')), " ".join(a.split()), *_reordered(a)],
    "grid": lambda a: [
        json.dumps(rows := _rows(a), ensure_ascii=False),
        "\n".join(", ".join(map(str, row)) + " " for row in rows),
    ],
    "assignments": lambda a: [
        a.upper(),
        " and ".join(reversed(a.strip(".").split(", and "))),
        a.replace(" is a", ": a"),
    ],
    "sum": lambda a: [
        a.replace(" ", ""),
        a.replace("**", "^"),
        a.replace("*", "·").replace("··", "**"),
        *_reordered(a),
    ],
    "math": lambda a: [a.replace(" ", ""), f"${a}$", a.replace("**", "^")],
}


def _rows(text):
    if text.startswith("["):
        return json.loads(text)
    rows = [[cell for cell in line.split() if cell not in "<>∧∨"] for line in text.split("\n")]
    return [row for row in rows if row]


def _reordered(text):
    """Its items, terms or lists in another order."""
    if text.startswith("[["):
        groups = json.loads(text)
        return [json.dumps(groups[::-1])]
    for separator in (", ", " × "):
        if separator in text:
            return [separator.join(reversed(text.split(separator)))]
    if " + " in text or " - " in text:
        terms = text.replace(" - ", " + -").split(" + ")
        return [" + ".join(reversed(terms)).replace(" + -", " - ")]
    return []


@pytest.mark.parametrize("name", VOTABLE)
def test_a_votable_answer_may_be_spelt_in_several_ways(name):
    for gold in golds_of(name):
        spellings = SPELLINGS[GENERATORS[name].equivalence](gold["answer"])
        group = [gold["answer"], *spellings]
        [ids] = answer_ids([group], GENERATORS[name].equivalence)
        assert dict(zip(group, ids, strict=True)) == dict.fromkeys(group, 0)
        assert score(spellings, gold) == [True] * len(spellings)


@pytest.mark.parametrize("name", VOTABLE)
def test_different_answers_stay_different(name):
    golds = list(dict.fromkeys(gold["answer"] for gold in golds_of(name)))
    [ids] = answer_ids([golds], GENERATORS[name].equivalence)
    assert ids == list(range(len(golds)))


# --- seeds, splits and sizes ---


def prompts(name="chain_sum", size=40, seed=0, split="train", **options):
    return reasoning_gym(name, split=split, size=size, seed=seed, **options).columns["prompt"]


def test_neighbouring_seeds_share_next_to_nothing():
    # Item i of a reasoning-gym data set is made from its seed + i: taken as they are, seeds 0 and 1 share 39 of 40.
    assert len(set(prompts(seed=0)) & set(prompts(seed=1))) <= 1


def test_splits_share_no_prompt_and_no_prompt_comes_twice():
    train, test = prompts("aiw", 300), prompts("aiw", 60, split="test")
    assert len(set(train)) == 300 and len(set(test)) == 60
    assert {split_of(prompt) for prompt in train} == {"train"} and {split_of(prompt) for prompt in test} == {"test"}


def test_a_larger_size_begins_with_the_smaller():
    assert prompts(size=200)[:40] == prompts(size=40)


@pytest.mark.slow
def test_the_same_items_in_another_process():
    # Python's hash seed decides on the questions of the first three and the gold answers of the next two, the state of
    # the process's random generators on those of the others.
    names = [
        "isomorphic_strings",
        "ransom_note",
        "polynomial_multiplication",
        "word_ladder",
        "intermediate_integration",
    ]
    names += ["list_functions", "pool_matrix", "codeio"]
    before = {name: golds_of(name, 12) for name in names}
    worker._close()
    golds_of.cache_clear()
    assert {name: golds_of(name, 12) for name in names} == before


def test_nothing_of_the_process_is_touched(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    before = random.getstate()
    for name in ("codeio", "pool_matrix", "decimal_arithmetic", "bf"):  # write files, seed, set precision, print
        prompts(name, 30)
    assert random.getstate() == before
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_fewer_prompts_than_asked_for():
    options = {"min_trials": 3, "max_trials": 4}
    everything = reasoning_gym("coin_flip", split="train", size=None, seed=0, **options).columns["prompt"]
    assert 1 < len(everything) == len(set(everything)) < 100
    with pytest.raises(
        UserError, match=rf"train split .*coin_flip has {len(everything)} different .* and size is 99;"
    ):
        prompts("coin_flip", 99, **options)


def test_a_slow_generator_says_so(monkeypatch, caplog):
    monkeypatch.setattr(module, "SLOW_SECONDS", 0.0)
    prompts(size=200)
    assert "reasoning_gym:chain_sum has made" in caplog.text and caplog.text.count("of 200 prompts") == 1


def test_the_gold_column_survives_a_data_set_and_json():
    task = load_task("reasoning_gym:chain_sum", size=4, options={"min_terms": 2, "max_terms": 2})
    rows = Dataset.from_dict(dict(task.columns))
    assert rows["answer"][0] == task.columns["answer"][0]
    for gold in rows["answer"]:
        assert task.score([gold["answer"], None], json.loads(json.dumps(gold))) == [True, False]


# --- options ---


def test_options_reach_the_generator():
    assert all("have 3 jugs" not in prompt and prompt.count(":") for prompt in prompts("jugs", 2))
    assert {prompt.split(": ")[1].count(" ") for prompt in prompts(size=5, min_terms=2, max_terms=2)} == {3}


def test_difficulty_is_a_level_of_the_curriculum():
    # levels of chain_sum: 2, 5, ... terms; an attribute is a range from its lowest level
    easy = json.loads(golds_with("chain_sum", difficulty=0)["options"])
    hard = json.loads(golds_with("chain_sum", difficulty=2, max_digits=1)["options"])
    assert easy["max_terms"] < hard["max_terms"] and hard["max_digits"] == 1
    assert json.loads(golds_with("bitwise_arithmetic", difficulty=3)["options"]) == {
        "difficulty": 3
    }  # a field of its own


def golds_with(name, **options):
    return reasoning_gym(name, split="train", size=1, seed=0, **options).columns["answer"][0]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (None, {}, r"task is 'reasoning_gym'; write reasoning_gym:NAME"),
        ("leg_count", {}, r"'reasoning_gym:leg_count', .* no such generator \(did you mean 'leg_counting'\?\)"),
        ("composite", {}, "'reasoning_gym:composite', which mixes generators"),
        (
            "chain_sum",
            {"min_term": 2},
            r"sets min_term, which .*chain_sum does not have \(did you mean 'min_terms'\?\); its",
        ),
        (
            "list_functions",
            {"level": 2},
            "sets level, which reasoning_gym:list_functions does not have; it has no options",
        ),
        (
            "chain_sum",
            {"min_terms": 0},
            r"refuses task_options \{'min_terms': 0\} \(min_terms must be positive\); correct",
        ),
        ("chain_sum", {"min_terms": "two"}, "refuses task_options .*not supported between"),
        ("chain_sum", {"min_terms": {1}}, "refuses task_options .*not JSON serializable"),
        (
            "chain_sum",
            {"difficulty": 99},
            r"difficulty=99: reasoning_gym:chain_sum has the levels 0 to 10; choose one",
        ),
        ("chain_sum", {"difficulty": "hard"}, "difficulty='hard': reasoning_gym:chain_sum has the levels"),
        ("acre", {"difficulty": 1}, "sets difficulty, which reasoning_gym:acre does not have; its options are train"),
        ("caesar_cipher", {"difficulty": 3}, r"refuses task_options .*\(rotation must be in range \[1,25\]\)"),
        ("gsm_symbolic", {"difficulty": 99.0}, r"refuses task_options \{'difficulty': 99.0\} \(AssertionError\)"),
    ],
)
def test_refused(name, options, message):
    with pytest.raises(UserError, match=message) as caught:
        reasoning_gym(name, split="train", size=1, seed=0, **options)
    assert "\n" not in str(caught.value)


def test_a_generator_that_makes_nothing(monkeypatch):
    monkeypatch.setattr(module, "in_workers", lambda _, items, *__: [Failed("no such word")] * len(items))
    with pytest.raises(
        UserError, match=r"word_ladder makes no item with task_options \{.*\} \(no such word\); correct them"
    ):
        reasoning_gym("word_ladder", split="train", size=1, seed=0, min_chain_length=50, max_chain_length=50)


def test_an_item_that_cannot_be_made_does_not_change_the_others():
    """word_ladder shrinks to the items before one that it could not make."""
    options = '{"max_chain_length": 50, "min_chain_length": 50}'
    makes = [
        [
            isinstance(item, Failed)
            for item in in_workers(f"{module.WORKER}:make_item", [("word_ladder", options, 0, i)], 30)
        ]
        for i in (0, 4, 1, 4)
    ]
    assert makes == [[True], [False], [True], [False]]


def test_unknown_split():
    with pytest.raises(UserError, match="split='validation'"):
        reasoning_gym("chain_sum", split="validation", size=1, seed=0)


def test_the_package_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "reasoning_gym.factory", None)
    with pytest.raises(UserError, match=r"needs the package reasoning-gym .*pip install 'mgrpo\[tasks\]'"):
        prompts()


# --- hostile answers ---


def hostile(mark):
    run = f"__import__('os').system('touch {mark}')"
    return [
        *(run, f"[{run}]", f'"{run}"', f"{{{run}: 1}}", f"f'{{{run}}}'", f"open('{mark}', 'w')", f"x + C\n{run}"),
        *("().__class__.__base__.__subclasses__()", "lambda: 0", "sin.__globals__", "x.func", "C" * 1000, "exp(x)(1)"),
        *("9**9**9", "x**9**9**9 + C", "((9**99)**99)**99", "1e999999999", "9" * 100_000, "1/0", "0x" + "f" * 100_000),
        *("[" * 100_000, "(" * 100_000, '{"a":' * 10_000, "((((" * 30, "-" * 100_000, "¬" * 1500, "a,b\n" * 50_000),
        *("∧".join(f"P{'(' * i}" for i in range(40)), "∧".join("P" * i for i in range(1, 40)), "P" + " P" * 900),
        *("U99999999", "U9" * 500, "A+99999999", "A+9" * 500, "\ud800", "\x00", "\N{RIGHT-TO-LEFT OVERRIDE}1", "nan"),
    ]


@pytest.mark.parametrize("name", CHECKED)
def test_hostile_answers_are_wrong_run_nothing_and_come_back_at_once(name, tmp_path):
    mark = tmp_path / "mark"
    gold = golds_of(name)[0]
    started = time.perf_counter()
    assert not any(score(hostile(mark), gold))
    assert time.perf_counter() - started < 5  # the limit of one answer is 10 seconds
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["binary_matrix", "spiral_matrix", "string_insertion", "number_sorting", "group_anagrams"]
)
def test_checkers_that_evaluate_are_not_called(name, tmp_path):
    mark = tmp_path / "mark"
    assert not any(score(hostile(mark), golds_of(name)[0]))
    assert not mark.exists()


@pytest.mark.parametrize("answer", ["x**2/2 + C", "-3*sin(7*x - 8)**4/4 + C", "E**(2*x)", "(x + 1)**(-1/2)*sqrt(x)"])
def test_what_may_be_evaluated(answer):
    assert reasoning_gym_worker._is_antiderivative(answer, {"metadata": {"variable": "x"}})


NOT_EVALUATED = """y   x.func   x[0]   x; x   x if x else x   lambda x: x   x == x   'x'   _   x_1   import os
eval(x)   x!   Symbol(x)   9**9   x**1000   x**9**9   x**(9**9)   x, x   {x}   é   x@x   0x1   1j   1e9   x := 1   ١"""


@pytest.mark.parametrize("answer", NOT_EVALUATED.replace("\n", "   ").split("   "))
def test_what_may_not_be_evaluated(answer):
    assert not reasoning_gym_worker._is_antiderivative(answer, {"metadata": {"variable": "x"}})
