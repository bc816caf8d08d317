"""`mgrpo fields`: what each field accepts."""

import re

from mgrpo.cli import main
from mgrpo.recipes.names import field_names


def test_every_field_is_listed(capsys):
    assert main(["fields"]) == 0
    listed = re.findall(r"^(\w+): .*; default: ", capsys.readouterr().out, re.MULTILINE)
    assert len(listed) == len(set(listed)) and set(listed) == field_names()


def test_fields_by_a_part_of_their_names(capsys):
    assert main(["fields", "momentum"]) == 0
    output = capsys.readouterr().out
    assert "momentum: a number, from 0 to 1; default: 0.99\n    m in theta_k" in output
    assert "rollback_momentum: a number, 0 or more and below 1, or none; default: none\n" in output
    assert "learning_rate" not in output


def test_no_such_field(capsys):
    assert main(["fields", "qqqq"]) == 2
    assert "no field has qqqq in its name" in capsys.readouterr().err
