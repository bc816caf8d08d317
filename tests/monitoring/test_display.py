from mgrpo.monitoring.display import summary_line


def test_the_numbers_that_matter():
    row = {"step": 10, "vote/agreement": 0.876, "entropy/mean": 1.5, "eval_gold/accuracy": 0.5, "kl": 3.0}
    assert summary_line(row) == "agreement 0.88  entropy 1.50  held-out 0.50"


def test_numbers_that_are_not_there():
    assert summary_line({"vote/agreement": 0.0, "entropy/mean": None}) == "agreement 0.00"
    assert summary_line({}) == ""
