"""What is in the wheel: the package, its licence, and no file that nobody thought of."""

import zipfile
from pathlib import Path

import pytest

import mgrpo

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "mgrpo"
DATA = {
    "py.typed": 1,
    "embedded/checkpoint/*.json": 4,
    "embedded/checkpoint/model.safetensors": 1,
    "report/assets/*.js": 7,
    "report/assets/page.css": 1,
    "report/assets/page.html": 1,
    "recipes/*.yaml": 7,
    "recipes/presets/*.yaml": 11,
    "recipes/cluster/*.yaml": 5,
    "recipes/cluster/*.sh": 2,
}
"""Files that are no Python, and how many of them there are."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built as pip builds it."""
    builders = pytest.importorskip("hatchling.builders.wheel")
    (path,) = builders.WheelBuilder(str(ROOT)).build(
        directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"]
    )
    with zipfile.ZipFile(path) as archive:
        yield Path(path), archive


def test_the_wheel_holds_the_package_and_its_licence_and_nothing_else(wheel):
    path, archive = wheel
    assert path.name == f"mgrpo-{mgrpo.__version__}-py3-none-any.whl"
    python = {str(file.relative_to(SOURCE)) for file in SOURCE.rglob("*.py")}
    data = {str(file.relative_to(SOURCE)) for pattern in DATA for file in SOURCE.glob(pattern)}
    about = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    expected = {f"mgrpo/{name}" for name in python | data}
    expected |= {f"mgrpo-{mgrpo.__version__}.dist-info/{name}" for name in about}
    assert set(archive.namelist()) == expected
    assert len(archive.namelist()) == len(expected)  # no name twice


@pytest.mark.parametrize("pattern", DATA)
def test_the_data_files_are_those_that_are_known(pattern):
    assert len(list(SOURCE.glob(pattern))) == DATA[pattern]


def test_its_files_lead_nowhere_else_and_run_nothing(wheel):
    path, archive = wheel
    for entry in archive.infolist():
        assert not entry.filename.startswith("/") and ".." not in entry.filename.split("/")
        assert entry.external_attr >> 28 in (0, 0x8), f"{entry.filename} is no plain file"
    about = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert archive.read(about).decode().split() == ["[console_scripts]", "mgrpo", "=", "mgrpo.cli:main"]
    assert path.stat().st_size < 2 << 20
