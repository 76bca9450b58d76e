"""Style is a test: what a reader may rely on in every file; each ban names its replacement."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src" / "strongroom"

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

# Files and functions that are longer, each with the reason why cutting it would not help a reader.
LONGER: dict[str, str] = {
    "keys/keystore.py": "finding, making, merging and removing share one lock order, which a reader must see in one place",
    "seal/_lane_code.py": "the vector operations of one kernel: a list of one-line emitters",
    "seal/_run_lanes.py:pack": "one kernel: numba compiles a function, and each call within it would be another to read",
    "seal/run.py": "the format of a run, written and read: the two sides stand together so that they stay equal",
}

# Call → (where it is allowed, what to use instead).
BANNED_CALLS: dict[str, tuple[tuple[str, ...], str]] = {
    "datetime.now": ((), "the clock argument"),
    "datetime.utcnow": ((), "the clock argument"),
    "datetime.today": ((), "the clock argument"),
    "date.today": ((), "the clock argument"),
    "time.time": ((), "the clock argument (time.time itself may be its default)"),
    "time.time_ns": ((), "the clock argument"),
    "os.urandom": (("seal/entropy.py",), "strongroom.seal.entropy.random_bytes"),
    "secrets.token_bytes": ((), "strongroom.seal.entropy.random_bytes"),
    "uuid.uuid4": ((), "strongroom.seal.entropy.random_bytes"),
    "print": (("cli/", "demo/"), "an error, a return value, or the command line"),
    "eval": ((), "a parser"),
    "exec": ((), "a function"),
    "breakpoint": ((), "nothing: take it out"),
}

BANNED_IMPORTS: dict[str, str] = {
    "random": "strongroom.seal.entropy, or a seeded numpy generator for made-up data",
    "pickle": "a format of its own: pickle runs what it reads",
    "marshal": "a format of its own",
    "shelve": "sqlite3",
    "uuid": "strongroom.seal.entropy.random_bytes(16)",
    "secrets": "strongroom.seal.entropy",
}

# Ciphers, MACs and signatures are imported by one file, which loads its lanes late; Argon2id by another.
HAZARDOUS = re.compile(r"(cryptography|nacl|Crypto|Cryptodome)(\.|$)|strongroom\.seal\._chacha_lanes$")
HAZARDOUS_ALLOWED = ("seal/_hazmat.py",)
HARMLESS = ("cryptography.exceptions",)

# Comparing one of these with == leaks, by how long it takes, how much of it is right.
SECRET_FOLDERS = ("seal", "keys", "keymaster")
SECRET_NAME = re.compile(
    r"(^|_)(secret|passphrase|password|plain_key|key_bytes|mac|tag|seed|(class|batch|block|file|page|epoch|root|"
    r"index|siv|wrapping|signing|inner|outer)_key)s?$"
)

LEFTOVER = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|home|root|Users|opt|workspace|mnt)/[\w.-]+")
# Words that would name a package index or a mirror; links to a project's own page are fine.
REGISTRY = re.compile(r"py" r"pi\.org|python" r"hosted\.org|(^|\s)--((extra-)?index" r"-url|find" r"-links)[ =]")
TEXT_SUFFIXES = {".py", ".toml", ".md", ".txt", ".cfg", ".yml", ".yaml", ".sh", ".json", ".cedar", ""}


def source_files() -> list[Path]:
    """Python files of the library."""
    return sorted(p for p in SOURCE.rglob("*.py") if "__pycache__" not in p.parts)


def relative(path: Path) -> str:
    """A path as the tables above write it: inside src/strongroom, with forward slashes."""
    return path.relative_to(SOURCE).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def tracked_files() -> list[Path]:
    """Files that git knows or would add; in an unpacked copy without git, every file outside caches."""
    if shutil.which("git") and (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, check=False, text=True,
        )  # fmt: skip
        if listed.returncode == 0:
            return [p for name in listed.stdout.split("\0") if name and (p := ROOT / name).is_file()]
    skipped = {".venv", ".git", "__pycache__", "demo-room", "demo-keys", "build", "dist"}
    return [p for p in ROOT.rglob("*") if p.is_file() and not skipped & set(p.relative_to(ROOT).parts)]


def text_files() -> list[Path]:
    """Tracked files that people read: code, settings, documents, locks."""
    return [p for p in tracked_files() if p.suffix in TEXT_SUFFIXES and p.name != "LICENSE"]


def dotted(node: ast.expr) -> str:
    """The name under a call as written: `os.urandom`, `print`; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


def allowed(path: Path, places: tuple[str, ...]) -> bool:
    """Whether a file is one of the places, or lies under one that ends in a slash."""
    name = relative(path)
    return any(name == place or (place.endswith("/") and name.startswith(place)) for place in places)


def banned_calls(path: Path) -> list[str]:
    """Calls a file may not make, with line and replacement."""
    found = []
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        for banned, (places, instead) in BANNED_CALLS.items():
            hit = name == banned or ("." in banned and name.endswith("." + banned))
            if hit and not allowed(path, places):
                found.append(f"{relative(path)}:{node.lineno}: {name}() → use {instead}")
    return found


def imported(path: Path) -> list[tuple[int, str]]:
    """Modules that a file imports anywhere, with line; `from a import b` gives both a and a.b."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.lineno, node.module))
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def named(node: ast.expr) -> str:
    """The last word of a name, attribute, index or slice: what `keys[0].tag` is called."""
    while isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def secret_comparisons(path: Path) -> list[str]:
    """Comparisons by == or != where a side has the name of a secret and neither is a literal."""
    found = []
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Compare):
            continue
        for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            if not isinstance(op, ast.Eq | ast.NotEq):
                continue
            sides = (left, right)
            if any(isinstance(side, ast.Constant) for side in sides):
                continue
            found += [
                f"{relative(path)}:{node.lineno}: {named(side)} compared with == → hmac.compare_digest"
                for side in sides
                if SECRET_NAME.search(named(side))
            ]
    return found


def test_every_module_says_what_it_does() -> None:
    """Every module of the library opens with a docstring."""
    silent = [relative(p) for p in source_files() if not ast.get_docstring(tree(p))]
    assert silent == []


def test_every_test_module_says_what_it_tests() -> None:
    """Every test module opens with a docstring, and every test states its behaviour in one."""
    silent = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        module = tree(path)
        if not ast.get_docstring(module):
            silent.append(path.name)
        functions = [n for n in ast.walk(module) if isinstance(n, ast.FunctionDef)]
        tests = [f for f in functions if f.name.startswith("test_")]
        silent += [f"{path.name}:{f.lineno}: {f.name}" for f in tests if not ast.get_docstring(f)]
    assert silent == []


def test_no_banned_calls() -> None:
    """Time, randomness and printing go through the one place each has."""
    assert [hit for path in source_files() for hit in banned_calls(path)] == []


def test_no_banned_imports() -> None:
    """No module imports what has a safer replacement here."""
    found = [
        f"{relative(path)}:{line}: {name} → use {BANNED_IMPORTS[name.split('.')[0]]}"
        for path in source_files()
        for line, name in imported(path)
        if name.split(".")[0] in BANNED_IMPORTS
    ]
    assert found == []


def test_one_file_knows_a_cipher() -> None:
    """Only seal/_hazmat.py imports ciphers, MACs and signatures."""
    found = [
        f"{relative(path)}:{line}: {name}"
        for path in source_files()
        if relative(path) not in HAZARDOUS_ALLOWED
        for line, name in imported(path)
        if HAZARDOUS.match(name) and not name.startswith(HARMLESS)
    ]
    assert found == []


def test_no_secret_is_compared_by_equality() -> None:
    """What looks like a secret in seal, keys and keymaster is compared in constant time."""
    files = [p for folder in SECRET_FOLDERS for p in source_files() if relative(p).startswith(folder + "/")]
    assert [hit for path in files for hit in secret_comparisons(path)] == []


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("if tag == other: pass", 1),
        ("if self.file_key != got[:16]: pass", 1),
        ("if kind == 3: pass", 0),
        ("if secret == None: pass", 0),
        ("if key_id == other: pass", 0),
    ],
)
def test_the_comparison_check_sees(monkeypatch: pytest.MonkeyPatch, code: str, count: int) -> None:
    """The check finds a compared secret and leaves lengths, literals and ids alone."""
    module = ast.parse(code)
    monkeypatch.setattr(sys.modules[__name__], "tree", lambda _path: module)
    assert len(secret_comparisons(SOURCE / "errors.py")) == count


def test_files_and_functions_are_short() -> None:
    """A file over 400 lines or a function over 60 is in the table above with a reason."""
    long, seen = [], set()
    for path in source_files():
        name = relative(path)
        lines = len(path.read_text(encoding="utf-8").splitlines())
        spans = [(name, lines, FILE_LINES_MAX)]
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                spans.append((f"{name}:{node.name}", size, FUNCTION_LINES_MAX))
        for what, size, most in spans:
            if size > most:
                seen.add(what)
                if what not in LONGER:
                    long.append(f"{what}: {size} lines, at most {most}")
    assert long == []
    assert sorted(set(LONGER) - seen) == [], "these are short now: take them out of the table"


def test_nothing_is_left_over() -> None:
    """No file carries a note that work on it is not finished."""
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if LEFTOVER.search(line)
    ]
    assert found == []


def test_no_file_names_a_machine_or_a_registry() -> None:
    """No tracked file holds an absolute path of somebody's machine or the address of a package registry."""
    found = []
    for path in text_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if MACHINE_PATH.search(line) or REGISTRY.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}")
    assert found == []


def test_the_printed_error_tree_is_the_tree() -> None:
    """The tree at the top of errors.py has exactly the classes, each under its base, in order."""
    printed: list[tuple[int, str]] = []
    for line in (ast.get_docstring(tree(SOURCE / "errors.py")) or "").splitlines():
        match = re.match(r"^(?P<indent>[ │├└─]*)(?P<name>[A-Z]\w*Error)\b", line)
        if match:
            printed.append((len(match["indent"]) // 4, match["name"]))

    classes = [node for node in tree(SOURCE / "errors.py").body if isinstance(node, ast.ClassDef)]
    depth = {"Exception": printed[0][0] - 1}
    children: dict[str, list[str]] = {}
    for node in classes:
        children.setdefault(named(node.bases[0]), []).append(node.name)
        depth[node.name] = depth[named(node.bases[0])] + 1

    def walk(name: str) -> list[tuple[int, str]]:
        below = [pair for child in children.get(name, []) for pair in walk(child)]
        return [(depth[name], name), *below]

    assert printed == walk("Exception")[1:]
    assert len(printed) == len(classes)


def test_only_errors_of_the_tree_are_defined_there() -> None:
    """Every exception class that leaves a module is in errors.py, so that one file shows them all."""
    strays = [
        f"{relative(path)}:{node.lineno}: {node.name}"
        for path in source_files()
        if relative(path) != "errors.py"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")
        and any(named(base).endswith(("Error", "Exception")) for base in node.bases)
    ]
    assert strays == []


def test_imports_point_down_only() -> None:
    """The layers in pyproject.toml hold."""
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(command), "--no-cache"], cwd=ROOT, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_is_strict() -> None:
    """Types are checked strictly, for the whole library; only kernels that numba types by itself are let off."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    assert settings["strict"] is True
    assert settings["packages"] == ["strongroom"]
    for override in settings.get("overrides", []):
        own = [name for name in override["module"] if name.startswith("strongroom")]
        assert all("lane" in name.rpartition(".")[2] for name in own)
        assert not {"ignore_errors", "disable_error_code"} & set(override)
        assert own or "disallow_untyped_defs" not in override


def test_locks_have_a_hash_for_everything() -> None:
    """Every requirement of every lock is pinned to one version and at least one hash."""
    for name in ("run", "dev", "bench"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        assert lines
        pinned = re.compile(r"^[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}")
        loose = [line.split()[0] for line in lines if not pinned.match(line)]
        assert loose == []
        assert any(line.startswith("setuptools==") for line in lines)
