"""Who may import what: the rules of docs/architecture.md, checked on the source and in fresh interpreters."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("REST.py", "config", "services", "scripts", "training", "benchmarks")
TOOLS = ("training/", "benchmarks/")  # beside the service: they draw pictures, train, measure
STAGES = ("web", "images", "captioning", "emoji")


@dataclass(frozen=True)
class OnlyIn:
    """`package` is imported only by files in `places`: folders (with a slash at the end) or single files."""

    package: str
    places: tuple[str, ...]
    but_not_in: tuple[str, ...] = ()

    def forbids(self, file: str) -> bool:
        return not file.startswith(self.places) or file in self.but_not_in


DOWNLOADERS = (
    "services/images/fetch.py",
    "services/captioning/checkpoints.py",
    "services/captioning/download.py",
    "services/emoji/sync.py",
    "services/client.py",
)
# What the queue and its tests know of captioners must not need a model to be imported.
MODEL_FREE = tuple(
    f"services/captioning/{name}.py"
    for name in (
        "captioner", "batcher", "hosted", "turns", "keeper", "jobs", "runner", "watchdog", "engines",
        "device_memory", "wanted", "gpu_lock", "memory",
    )
)
RULES = (
    OnlyIn("flask", ("services/web/",)),
    OnlyIn("werkzeug", ("services/web/",)),
    OnlyIn("lavis", ("services/captioning/lavis_zoo.py", *TOOLS)),
    # the fast path needs torch and nothing of these
    OnlyIn("transformers", ("services/captioning/lavis_zoo.py", *TOOLS)),
    OnlyIn("timm", ()),
    OnlyIn("torch", ("services/captioning/", *TOOLS), but_not_in=MODEL_FREE),
    OnlyIn("PIL", ("services/images/", *TOOLS)),
    OnlyIn("requests", DOWNLOADERS),
    OnlyIn("urllib3", DOWNLOADERS),
)


def imported(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of each import in a module of `package`, at any depth of the code.

    `from a.b import c` gives `a.b.c`; relative imports are resolved; `import_module("a.b")` counts.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                parents = package.split(".")[: len(package.split(".")) + 1 - level] if level else []
                base = ".".join([*parents, *([module] if module else [])])
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def is_within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def first_party(name: str) -> bool:
    return is_within(name, "REST", "config", "services", "scripts", "training", "benchmarks", "tests")


def stage_breaks_rule(file: str, name: str) -> bool:
    """Whether `file` of a stage imports something of ours that is not its own, nor `services.errors`.

    The web stage speaks to the others through the pipeline, and to its value types.
    """
    stage = next((stage for stage in STAGES if file.startswith(f"services/{stage}/")), None)
    if stage is None or not first_party(name):
        return False
    through_pipeline = ("services.pipeline",) if stage == "web" else ()
    return not is_within(name, "services.errors", f"services.{stage}", *through_pipeline)


def reads_environment(tree: ast.Module) -> Iterator[int]:
    """Lines that name os.environ or os.getenv outside of functions: they would run while importing."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}:
            yield node.lineno
        todo.extend(ast.iter_child_nodes(node))


def violations(root: Path) -> list[str]:
    """Each breach of a rule by the product under `root`, as "file:line what"."""
    found = []
    for path in sorted(path for part in PRODUCT for path in python_files(root / part)):
        file = path.relative_to(root).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"), file)
        for line, name in imported(tree, ".".join(Path(file).parent.parts)):
            broken = [rule for rule in RULES if is_within(name, rule.package) and rule.forbids(file)]
            found += [f"{file}:{line} {name}"] * len(broken)
            if stage_breaks_rule(file, name) or (file == "services/errors.py" and name):
                found.append(f"{file}:{line} {name}")
        found += [f"{file}:{line} environment" for line in reads_environment(tree)]
    return found


def python_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.rglob("*.py"))


def test_the_product_keeps_the_rules() -> None:
    assert (ROOT / "services" / "errors.py").exists()  # this is the right root
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "source", "breach"),
    [
        ("REST.py", "from flask import Flask", "flask.Flask"),
        ("services/pipeline.py", "import flask.json", "flask.json"),
        ("services/images/decode.py", "import werkzeug", "werkzeug"),
        ("services/captioning/lavis_captioner.py", "def load():\n    import lavis", "lavis"),
        ("services/captioning/devices.py", "importlib.import_module('lavis.models')", "lavis.models"),
        ("services/captioning/blip/text.py", "import transformers", "transformers"),
        ("services/pipeline.py", "import torch", "torch"),
        ("services/captioning/batcher.py", "import torch", "torch"),
        ("services/captioning/lavis_captioner.py", "from PIL import Image", "PIL.Image"),
        ("services/images/source.py", "import requests", "requests"),
        ("scripts/demo.py", "import urllib3.util", "urllib3.util"),
        ("services/emoji/mapper.py", "from services.images import decode", "services.images.decode"),
        ("services/emoji/mapper.py", "from ..images.decode import decode", "services.images.decode.decode"),
        ("services/web/compat/x.py", "from ...captioning import batcher", "services.captioning.batcher"),
        ("services/web/app.py", "from config.settings import Settings", "config.settings.Settings"),
        ("services/captioning/devices.py", "from services.pipeline import P", "services.pipeline.P"),
        ("services/errors.py", "import os", "os"),
        ("services/images/fetch.py", "import os\nPROXY = os.environ.get('X')", "environment"),
        ("services/images/fetch.py", "class A:\n    proxy = os.getenv('X')", "environment"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, file: str, source: str, breach: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    assert [found.split(" ")[1] for found in violations(tmp_path)] == [breach]
    assert violations(tmp_path)[0].startswith(f"{file}:")


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("services/web/app.py", "from flask import Flask\nfrom services.pipeline import Pipeline"),
        ("services/web/compat/x.py", "from ..responses import as_json\nfrom services import errors"),
        ("services/captioning/lavis_zoo.py", "import lavis.models, torch"),
        ("services/captioning/devices.py", "import torch\nfrom . import captioner"),
        ("services/images/decode.py", "from PIL import Image\nfrom services.errors import TooLarge"),
        ("services/images/fetch.py", "import requests\ndef proxy():\n    return os.environ"),
        ("services/emoji/sync.py", "import requests, flaskless, torchless"),
        ("services/pipeline.py", "from services.images.source import ImageSource"),
        ("training/train_demo.py", "import torch, PIL.Image, lavis"),
    ],
)
def test_what_is_allowed_is_not_reported(tmp_path: Path, file: str, source: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    assert violations(tmp_path) == []


def run_fresh(code: str, *arguments: str) -> str:
    """What `code` prints in an interpreter of its own, started at the root of the checkout."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("module", "stays_out"),
    [
        ("config.settings", {"torch", "transformers", "lavis", "flask", "PIL", "requests", "yaml"}),
        ("services.pipeline", {"torch", "transformers", "lavis", "flask", "PIL", "requests"}),
        ("services.client", {"torch", "lavis", "flask", "werkzeug", "PIL", "yaml", "services.errors"}),
        ("services.web.app", {"torch", "transformers", "lavis", "PIL", "requests", "pydantic", "apispec"}),
        ("services.images.decode", {"torch", "transformers", "lavis", "flask", "requests"}),
        ("services.emoji.mapper", {"torch", "transformers", "lavis", "flask", "PIL", "requests", "yaml"}),
        ("services.captioning.batcher", {"torch", "transformers", "lavis", "flask", "PIL", "requests"}),
        ("REST", {"torch", "transformers", "lavis"}),
    ],
)
def test_importing_does_not_pull_in(module: str, stays_out: set[str]) -> None:
    code = f"import json, sys, {module}; print(json.dumps(list(sys.modules)))"
    assert stays_out.isdisjoint(json.loads(run_fresh(code)))


def test_the_fast_path_needs_nothing_of_lavis() -> None:
    code = """
import json, sys
from PIL import Image
from services.captioning.captioner import DecodingOptions
from services.captioning.engines import load_captioner
demo = load_captioner("demo", "auto", "cpu", "auto", lambda progress: None)
captions = demo.caption([demo.prepare(Image.new("RGB", (64, 64)))], DecodingOptions())
assert captions[0][0].text
print(json.dumps(list(sys.modules)))
"""
    assert {"lavis", "transformers", "timm", "fairscale", "torchvision"}.isdisjoint(json.loads(run_fresh(code)))


# Imports the modules named and prints what they do besides.
WATCHED_IMPORT = """
import importlib, os, sys
root = os.getcwd() + os.sep
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen"):
        print(module, event, arguments)
    elif event == "open" and str(arguments[0]).startswith(root):
        if not arguments[0].startswith(root + ".venv") and ".py" not in arguments[0]:
            print(module, event, arguments[0])
sys.path.insert(0, root)
module = ""
sys.addaudithook(watch)
for module in sys.argv[1:]:
    importlib.import_module(module)
print(*sorted({"lavis", "transformers"} & set(sys.modules)), end="")
"""


def test_importing_does_no_work() -> None:
    """No connection, no look-up of a name, no program started, no file of ours opened; LAVIS stays out."""
    paths = [path for part in ("REST.py", "config", "services") for path in python_files(ROOT / part)]
    files = [path.relative_to(ROOT).with_suffix("") for path in paths]
    modules = {".".join(file.parts).removesuffix(".__init__") for file in files}
    # gunicorn.conf is read by gunicorn, not imported
    light = modules - {"services.captioning.lavis_zoo", "config.gunicorn.conf"}
    assert run_fresh(WATCHED_IMPORT, *sorted(light)) == ""


def test_work_while_importing_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("a: 1", encoding="utf-8")
    (tmp_path / "worker.py").write_text(
        "import pathlib, socket\n"
        "pathlib.Path('data.yaml').absolute().read_text()\n"
        "socket.getaddrinfo('127.0.0.1', 80)\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-c", WATCHED_IMPORT, "worker"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [line.split(" ")[:2] for line in done.stdout.splitlines()] == [
        ["worker", "open"], ["worker", "socket.getaddrinfo"],
    ]  # fmt: skip
