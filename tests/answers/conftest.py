import pytest


@pytest.fixture(scope="module")
def patient_workers():
    """Time enough for every expression on a busy machine: these tests ask what is equal, not how long that takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mgrpo.answers.mathematics.SECONDS_PER_ANSWER", 20.0)
        yield
