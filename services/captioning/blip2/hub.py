"""The files of a language model on the Hugging Face hub: in its cache (HF_HOME), or downloaded into it.

huggingface_hub goes on with what broke off, checks sizes, and honours HTTPS_PROXY, NO_PROXY and
REQUESTS_CA_BUNDLE.
"""

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.captioning.captioner import LoadProgress, ReportProgress
from services.captioning.checkpoints import FETCH_BEFORE, ModelLoadError, is_offline

Get = Callable[[str], Path]  # name -> path of a file; raises FileNotFoundError, or another OSError

CONFIG = "config.json"
TOKENIZERS = {
    "opt": ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"),
    "t5": ("tokenizer.json", "spiece.model", "tokenizer_config.json", "special_tokens_map.json"),
}
# Of the first of these that a repository has: the list of the files with weights, or the only one
WEIGHTS = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)


@dataclass(frozen=True)
class LanguageFiles:
    folder: Path  # with the configuration and the tokenizer
    weights: list[Path]


def language_files(repository: str, report: ReportProgress) -> LanguageFiles:
    """repository: "owner/name", or a folder that holds the same files. Raises ModelLoadError."""
    if Path(repository).is_dir():
        try:
            return _collect(lambda name: _in_folder(Path(repository), name))
        except OSError as exc:
            raise ModelLoadError(f"The folder of the language model is not whole, there is no {exc}") from exc
    try:
        return _collect(_from_hub(repository, local_files_only=True))
    except OSError:  # the hub's own errors are among these; something is missing
        if is_offline():
            raise ModelLoadError(
                f"OFFLINE=true, and the language model {repository} is not whole in the cache of the Hugging Face "
                f"hub (HF_HOME). {FETCH_BEFORE}"
            ) from None
    report(LoadProgress("downloading"))
    try:
        return _collect(_from_hub(repository, local_files_only=False))
    except OSError as exc:
        raise ModelLoadError(
            f"The language model {repository} could not be downloaded from the Hugging Face hub: "
            f"{str(exc).splitlines()[0]}. Check the network and the disk, then start again: what has come is kept"
        ) from exc


def _in_folder(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(path)
    return path


def _from_hub(repository: str, *, local_files_only: bool) -> Get:
    """All files are of the version that the first was of."""
    asked: dict[str, Any] = {"local_files_only": local_files_only, "resume_download": True}

    def get(name: str) -> Path:
        # here: not every model needs it
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils import EntryNotFoundError

        try:
            path = Path(hf_hub_download(repository, name, **asked))
        except EntryNotFoundError as exc:
            raise FileNotFoundError(str(exc)) from exc
        asked["revision"] = path.parent.name  # the cache's folders have the names of the versions
        return path

    return get


def _collect(get: Get) -> LanguageFiles:
    config = json.loads(get(CONFIG).read_text(encoding="utf-8"))
    kind = config.get("model_type")
    if kind not in TOKENIZERS:
        raise ModelLoadError(f"{get(CONFIG)} is of a language model of type {kind}, not of one of BLIP-2's")
    for name in TOKENIZERS[kind]:
        get(name)
    listed = _first(get, WEIGHTS)
    names = [listed.name]
    if listed.suffix == ".json":
        names = sorted(set(json.loads(listed.read_text(encoding="utf-8"))["weight_map"].values()))
    return LanguageFiles(get(CONFIG).parent, [get(name) for name in names])


def _first(get: Get, names: tuple[str, ...]) -> Path:
    for name in names[:-1]:
        with contextlib.suppress(FileNotFoundError):
            return get(name)
    return get(names[-1])
