"""The weights of published models: found where the old set-up left them or downloaded; and read safely."""

import contextlib
import os
import pickle
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import requests
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from services.captioning.captioner import LoadProgress, ReportProgress
from services.captioning.convert import refused_objects
from services.captioning.hashes import ChangedFile, check_unchanged

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
CHUNK_BYTES = 1 << 20


class ModelLoadError(RuntimeError):
    """The model cannot be loaded; the message says why and what to do."""


def cached_path(url: str) -> Path:
    """Where LAVIS, timm and torch.hub look for the checkpoint at `url`: $TORCH_HOME/hub/checkpoints."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name


def cure_for(path: Path) -> str:
    """What to do about a checkpoint that cannot be used."""
    if path.is_relative_to(torch.hub.get_dir()):
        return "Delete the file; it is then downloaded anew"
    return "Restore the file from where it came"


def ensure_checkpoint(url: str, report: ReportProgress) -> Path:
    """The file of the checkpoint at `url`, downloaded unless it is there.

    The file appears under its name only when it is complete; its hash is recorded when it is first used, and
    another content is refused later. Raises ModelLoadError with the URL and the cure.
    """
    path = cached_path(url)
    if not path.exists():
        _fetch(url, path, report)
    try:
        check_unchanged(path)
    except ChangedFile as exc:
        raise ModelLoadError(str(exc)) from exc
    except OSError as exc:
        raise ModelLoadError(f"{path} cannot be read: {exc}. {cure_for(path)}") from exc
    return path


def _fetch(url: str, path: Path, report: ReportProgress) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, part, report)
        part.replace(path)
    except (OSError, requests.RequestException) as exc:
        raise ModelLoadError(
            f"The weights could not be downloaded from {url} to {path}: {_cause(exc)}. "
            "Check the network, or put the file there yourself; then start again"
        ) from exc
    finally:
        with contextlib.suppress(OSError):  # nothing was written
            part.unlink()


def ensure_vocabulary(repository: str) -> Path:
    """The vocab.txt of a repository of the Hugging Face hub, where LAVIS finds it too: cached, or downloaded.

    Raises ModelLoadError.
    """
    # here: not every model needs it
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, "vocab.txt")
    if isinstance(cached, str):  # else None, or a note that the repository has no such file
        return Path(cached)
    try:
        return Path(hf_hub_download(repository, "vocab.txt"))
    except (OSError, requests.RequestException) as exc:  # the hub's own errors are among these
        raise ModelLoadError(
            f"The vocabulary of {repository} could not be downloaded from the Hugging Face hub: "
            f"{str(exc).splitlines()[0]}. Check the network, then start again"
        ) from exc


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint of LAVIS (.pth) or of a .safetensors file, mapped from the file where it can be.

    Raises ModelLoadError for a file that is broken, or that holds more than tensors: unpickling could run code.
    """
    try:
        if path.suffix == ".safetensors":
            mapped: dict[str, Tensor] = load_file(path)
            return mapped
        # torch's format of before 1.6 is no archive, and cannot be mapped into memory
        mappable = zipfile.is_zipfile(path)
        held = torch.load(path, map_location="cpu", mmap=mappable, weights_only=True)
        weights: dict[str, Tensor] = held.get("model", held)
        return {name: weight.detach() for name, weight in weights.items()}
    except pickle.UnpicklingError as exc:
        raise ModelLoadError(
            f"{path} holds more than tensors, and loading it could run code, so it is not loaded: "
            f"{refused_objects(exc)}. "
            f"If you trust where it is from: .venv/bin/python -m services.captioning.convert {path}"
        ) from exc
    # AttributeError: no dictionary of tensors
    except (OSError, RuntimeError, EOFError, AttributeError, SafetensorError) as exc:
        why = (str(exc) or type(exc).__name__).splitlines()[0]  # EOFError has no text
        raise ModelLoadError(f"{path} is not a whole checkpoint: {why}. {cure_for(path)}") from exc


def _download(url: str, part: Path, report: ReportProgress) -> None:
    timeouts = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
    with requests.get(url, stream=True, timeout=timeouts) as response, part.open("wb") as file:
        response.raise_for_status()
        total = int(response.headers.get("Content-Length", 0)) or None
        with tqdm(total=total, unit="B", unit_scale=True, desc=part.name.split(".")[0]) as bar:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
                report(LoadProgress("downloading", file.tell(), total))
        if total is not None and file.tell() != total:
            raise OSError(f"the connection ended after {file.tell()} of {total} bytes")


def _cause(exc: BaseException) -> str:
    """The innermost reason: requests wraps a failed look-up or connection three deep."""
    inner = exc
    while (deeper := getattr(inner, "reason", None) or inner.__cause__ or inner.__context__) is not None:
        if not isinstance(deeper, BaseException):
            break
        inner = deeper
    return str(inner) or type(inner).__name__
