"""The house rules that no linter knows: sizes, words, light imports, mirrored tests, generated pages."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from effmed import workflows
from effmed.cli.app import app

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "effmed"
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = [*MODULES, *PACKAGE.rglob("*.[ch]")]
HEAVY = {
    "torch", "timm", "monai", "albumentations", "sklearn", "pandas", "matplotlib", "scipy", "cv2", "pydicom", "nibabel",
}  # fmt: skip
MAX_LINES, MAX_FUNCTION_LINES, MAX_MODULES = 400, 40, 9
TESTED_BY_THE_STORY = ("workflows/", "apply/predict", "cli/commands", "learn/bundle")  # tests/test_end_to_end.py
BANNED_WORDS = {"utils", "helpers", "manager", "misc", "common", "cfg", "hparams"}
PLAIN_NUMBERS = {0, 1, 2, -1, 0.5, 3, 4, 100, 8}  # counts of axes and channels, per cent, bits of a byte


def functions(path):
    tree = ast.parse(path.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def length_without_docstring(node):
    first = node.body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = first.end_lineno - first.lineno + 1 if has_docstring else 0
    return node.end_lineno - node.lineno + 1 - docstring


def test_no_module_is_longer_than_400_lines():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}


def test_no_function_is_longer_than_40_lines():
    found = {
        f"{path.relative_to(ROOT)}:{node.name}": length_without_docstring(node)
        for path in MODULES
        for node in functions(path)
    }
    assert {name: n for name, n in found.items() if n > MAX_FUNCTION_LINES} == {}


def test_no_folder_holds_more_than_nine_modules():
    folders = {path.parent for path in MODULES} - {PACKAGE}
    counts = {str(folder.relative_to(ROOT)): len(list(folder.glob("[!_]*.py"))) for folder in folders}
    assert {name: n for name, n in counts.items() if n > MAX_MODULES} == {}


def test_banned_words_do_not_occur():
    found = []
    for path in MODULES:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = [path.stem, *(node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef)))]
        names += [node.arg for node in nodes if isinstance(node, ast.arg)]
        found += [f"{path.relative_to(ROOT)}: {name}" for name in names if BANNED_WORDS & set(name.lower().split("_"))]
    assert found == []


def test_numbers_in_comparisons_are_named():
    found = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Compare):
                continue
            for side in (node.left, *node.comparators):
                if (
                    isinstance(side, ast.Constant)
                    and type(side.value) in (int, float)
                    and side.value not in PLAIN_NUMBERS
                ):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {side.value}")
    assert found == []


def test_every_module_has_its_tests():
    """A module's tests stand in the mirrored place; those of a package may stand in one file named after it."""
    missing = []
    for path in MODULES:
        place = path.relative_to(PACKAGE)
        if path.name.startswith("_") or place.as_posix().startswith(TESTED_BY_THE_STORY):
            continue
        candidates = [ROOT / "tests" / place.with_name(f"test_{place.name}")]
        candidates += [ROOT / "tests" / parent.parent / f"test_{parent.name}.py" for parent in place.parents]
        if not any(candidate.is_file() for candidate in candidates):
            missing.append(str(place))
    assert missing == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["train", "--help"],
        ["compare", "--help"],
        ["recipes", "list"],
        ["recipes", "keys"],
        ["variants"],
        ["variants", "--json"],
        ["variants", "show", "--help"],
        ["weights", "list"],
    ],
)
def test_light_commands_import_nothing_heavy(arguments):
    probe = (
        "import sys; from effmed.cli.app import app\n"
        f"try: app({arguments!r})\n"
        "except SystemExit: pass\n"
        f"sys.stderr.write(','.join(sorted({HEAVY!r} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("module", ["tables", "comparing"])
def test_judging_tables_needs_no_deep_learning_library(module):
    probe = (
        f"import sys, effmed.workflows.judging.{module}\n"
        "sys.stderr.write(','.join(sorted({'torch', 'timm', 'monai', 'albumentations'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_every_command_is_a_workflow_of_the_same_name():
    commands = {command.callback.__name__ for command in app.registered_commands}
    callbacks = [group.typer_instance.registered_callback for group in app.registered_groups]
    commands |= {found.callback.__name__ for found in callbacks if found is not None}  # groups that act alone
    assert "variants" in commands
    assert commands <= set(workflows.__all__)


@pytest.mark.parametrize("page", ["cli.md", "recipe.md"])
def test_generated_pages_are_up_to_date(page):
    sys.path.insert(0, str(ROOT / "docs"))
    from generate import PAGES

    assert (ROOT / "docs" / page).read_text() == PAGES[page](), "run: make docs"


def test_project_files_name_no_place_of_this_machine():
    names = ["/" + "work/", ".." + "/shared", "/" + "root/"]
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    text_files = [
        ROOT / name
        for name in done.stdout.splitlines()
        if Path(name).suffix in {".py", ".md", ".toml", ".yaml", ".c", ".h"}
    ]
    found = [str(path) for path in text_files if path.is_file() and any(name in path.read_text() for name in names)]
    assert found == []
