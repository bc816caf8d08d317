"""What the package's own source never does, read off its syntax tree: each exception stands here with its reason."""

import ast
from functools import cache
from pathlib import Path

import pytest
import yaml

import mgrpo

SOURCE = Path(mgrpo.__file__).parent

ALLOWED = {
    "sandbox/code_tests.py": {"imports pickle"},  # an unpickler that refuses any name: LiveCodeBench's tests
    "sandbox/inside.py": {"evaluates: eval", "evaluates: exec", "evaluates: compile"},  # sent into the sandbox
    "runs/checkpoints.py": {"imports pickle"},  # an unpickler that refuses any name it does not know
    "yaml_text.py": {"yaml: yaml.load"},  # with a subclass of SafeLoader, which only refuses keys set twice
}
"""What `find` finds and is meant to be there."""

STARTS_PROCESSES = {
    "answers/worker.py": "Python and a module of ours; text goes through its pipe as JSON",
    "sandbox/sandbox.py": "Python and the sandbox's launcher; a program goes through its pipe",
    "sandbox/launcher.py": "a program, once nothing is left that it could reach",
    "commands/train.py": "`git rev-parse HEAD` in our own directory",
}
"""Files that start a process, and what they give it."""

IMPORTS_BY_NAME = {
    "answers/user_functions.py": "the recipe's module:function, which is its author's code",
    "sandbox/inside.py": "in the sandbox: the standard library's types, by our own tags",
    "answers/worker_process.py": "modules of ours that the parent process names",
    "tasks/reasoning_gym.py": "the package reasoning-gym, a name in the source",
    "tasks/reasoning_gym_worker.py": "the package reasoning-gym, a name in the source",
    "tasks/registry.py": "a table in the source",
}
"""Files that import what a string names, and whose string it is."""

EVALUATES = {"eval", "exec", "compile", "__import__", "execfile"}
UNPICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
SHELLS = {"system", "popen", "getoutput", "getstatusoutput"}
STARTERS = {
    "Popen",
    "run",
    "call",
    "check_call",
    "check_output",
    "spawnv",
    "spawnl",
    "execv",
    "execve",
    "execvp",
    "startfile",
}


@cache
def modules():
    return {str(path.relative_to(SOURCE)): ast.parse(path.read_text()) for path in SOURCE.rglob("*.py")}


def calls(tree):
    """Each call with the dotted name of what is called, as far as it is one."""
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def keywords(call):
    return {keyword.arg: keyword.value for keyword in call.keywords}


def test_the_walk_sees_the_whole_package():
    assert len(modules()) > 80 and {"cli.py", "training/trainer.py", "report/serve.py"} <= modules().keys()


def find(source):
    """What is wrong with a piece of source."""
    found = []
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [f"imports {name}" for name in names if name.split(".")[0] in UNPICKLES]
    for name, call in calls(tree):
        last = name.rpartition(".")[2]
        given = keywords(call)
        if name in EVALUATES or name.startswith("builtins."):
            found.append(f"evaluates: {name}")
        if "shell" in given and not (isinstance(given["shell"], ast.Constant) and given["shell"].value is False):
            found.append(f"shell: {name}")
        if last in SHELLS and name.partition(".")[0] in ("os", "subprocess", "commands"):
            found.append(f"shell: {name}")
        if name == "torch.load" and ast.unparse(given.get("weights_only", ast.Constant(None))) != "True":
            found.append("torch.load without weights_only=True")
        if last == "load" and name.endswith(("numpy.load", "np.load")) and "allow_pickle" in given:
            found.append("numpy.load of pickles")
        if name in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"):
            found.append(f"yaml: {name}")
        if last in ("extractall", "mktemp"):
            found.append(f"files: {name}")
        if "trust_remote_code" in given and ast.unparse(given["trust_remote_code"]) == "True":
            found.append(f"remote code: {name}")
    return found


def test_nothing_is_evaluated_unpickled_or_given_to_a_shell():
    found = {str(path.relative_to(SOURCE)): set(find(path.read_text())) for path in SOURCE.rglob("*.py")}
    assert {path: wrong for path, wrong in found.items() if wrong} == ALLOWED


@pytest.mark.parametrize(
    "bad",
    [
        "eval(text)",
        "exec(text)",
        "compile(text, '<text>', 'exec')",
        "import pickle",
        "from pickle import loads",
        "subprocess.run(text, shell=True)",
        "subprocess.run(text, shell=flag)",
        "os.system(text)",
        "os.popen(text)",
        "subprocess.getoutput(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "archive.extractall(directory)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_the_search_would_find(bad):
    assert find(bad)


def test_processes_are_started_where_it_is_known_with_lists_of_words():
    started = {}
    for path, tree in modules().items():
        for name, call in calls(tree):
            if name.startswith(("subprocess.", "os.")) and name.rpartition(".")[2] in STARTERS:
                started.setdefault(path, []).append(call)
    assert started.keys() == STARTS_PROCESSES.keys()
    for path, of_file in started.items():
        for call in of_file:
            words = ast.List | ast.Name | ast.Attribute | ast.Subscript | ast.Call
            assert isinstance(call.args[0], words), (path, ast.unparse(call))
            assert not isinstance(call.args[0], ast.Constant | ast.JoinedStr)


def test_modules_are_imported_by_name_where_it_is_known():
    importing = {path for path, tree in modules().items() if any("import_module" in name for name, _ in calls(tree))}
    assert importing == IMPORTS_BY_NAME.keys()


def test_no_recipe_needs_remote_code():
    recipes = list((SOURCE / "recipes").rglob("*.yaml"))
    assert len(recipes) > 10
    for recipe in recipes:
        assert "trust_remote_code" not in (yaml.safe_load(recipe.read_text()) or {}), recipe
