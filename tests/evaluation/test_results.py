import dataclasses
import json
import math

import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.results import read_results, write_results
from mgrpo.evaluation.statistics import Estimate

RIGHT = {"math500": [[1, 0], [0, 0], [1, 1]]}


def test_what_is_written_is_read(make_results, tmp_path):
    results = make_results({"math500": [[1, 1], [1, 0]] * 10, "aime24": [[0, 1], [0, 0]] * 20}, step=100)
    path = write_results(results, tmp_path / "run" / "evaluation" / "final")
    assert read_results(path.parent) == read_results(path) == results
    written = json.loads(path.read_text())
    assert written["format"] == 1
    assert written["benchmarks"]["math500"]["metrics"]["avg@2"]["value"] == 0.75
    assert written["benchmarks"]["math500"]["metrics"]["avg@2"]["method"] == "bootstrap"
    assert read_results(path).benchmarks["aime24"].headline.value == 0.25


def test_an_interval_that_is_not_known(make_results, tmp_path):
    results = make_results(RIGHT)
    unknown = dataclasses.replace(results.benchmarks["math500"], metrics={"avg@2": Estimate(1.0, math.nan, math.nan)})
    path = write_results(dataclasses.replace(results, benchmarks={"math500": unknown}), tmp_path)
    assert "NaN" not in path.read_text()  # which is not JSON
    assert math.isnan(read_results(tmp_path).benchmarks["math500"].headline.low)


def test_a_field_of_a_later_version_is_left_out(make_results, tmp_path):
    path = write_results(make_results(RIGHT), tmp_path)
    content = json.loads(path.read_text())
    content["later"] = content["model"]["later"] = 1
    path.write_text(json.dumps(content))
    assert read_results(tmp_path) == make_results(RIGHT)


def delete(content):
    del content["benchmarks"]["math500"]["metrics"]["avg@2"]["low"]


def other_type(content):
    content["benchmarks"]["math500"]["k"] = "4"


def true_for_a_number(content):
    content["protocol"]["seed"] = True


def no_temperature(content):
    content["protocol"]["temperature"] = None


def unknown_weights(content):
    content["model"]["weights"] = "teacher"


def a_list(content):
    content["benchmarks"] = []


def no_headline(content):
    content["benchmarks"]["math500"]["k"] = 8


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (delete, r"`benchmarks.math500.metrics.avg@2.low`"),
        (other_type, r"`benchmarks.math500.k` is '4', .*whole number"),
        (true_for_a_number, r"`protocol.seed` is True, .*whole number"),
        (no_temperature, r"`protocol.temperature` is None, .*number"),
        (unknown_weights, r"`model.weights` is 'teacher', .*policy, momentum, other"),
        (a_list, r"`benchmarks` is \[\], .*object"),
        (no_headline, r"`benchmarks.math500.metrics` .*`avg@8`"),
    ],
)
def test_a_broken_file(make_results, tmp_path, broken, said):
    path = write_results(make_results(RIGHT), tmp_path)
    content = json.loads(path.read_text())
    broken(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"results.json is broken: {said}.*; delete it .*`mgrpo evaluate`"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"format": 1, "model"', "cannot be read: it is no JSON .*delete it"),
        ("", "cannot be read: it is no JSON"),
        ("[1, 2]", "cannot be read: it is no JSON object.*`mgrpo evaluate`"),
        ('{"results": {"gsm8k": 0.5}}', "has no `format`"),
        ('{"format": 2}', "has format 2, .* format 1; install"),
    ],
)
def test_another_file(tmp_path, text, said):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=f"results.json {said}"):
        read_results(tmp_path)


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="nowhere .*results.json; run `mgrpo evaluate`"):
        read_results(tmp_path / "nowhere")
