"""The weights of published models: found where the old set-up left them or downloaded; and read safely."""

import logging
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

from services.captioning.captioner import ReportProgress
from services.captioning.convert import refused_objects
from services.captioning.download import DownloadError, download
from services.captioning.hashes import ChangedFile, check_unchanged, differs, is_download, record_download

# What reading a broken file raises; AttributeError: it holds no dictionary of tensors.
_BROKEN = (OSError, RuntimeError, EOFError, AttributeError, UnicodeDecodeError, SafetensorError)
FETCH_BEFORE = (
    "`.venv/bin/python -m services.captioning download MODEL` fetches all of it where there is a network"
)

logger = logging.getLogger(__name__)


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


def is_offline() -> bool:
    """OFFLINE=true, as REST.py hands it on: through the environment, where the hub's library looks for its own."""
    return os.environ.get("OFFLINE", "").strip().lower() in {"true", "1", "yes", "on"}


def ensure_checkpoint(url: str, report: ReportProgress) -> Path:
    """The file of the checkpoint at `url`, downloaded unless it is there.

    The file appears under its name only when it is complete; its hash is recorded when it is first used, and
    another content is refused later. A download of ours that is broken is set aside and made anew, once; a file
    that somebody else put there never is. Raises ModelLoadError with the cause and the cure.
    """
    path = cached_path(url)
    try:
        if path.exists() and not is_offline():
            _set_aside_if_damaged(path)
        if not path.exists():
            _fetch(url, path, report)
        check_unchanged(path)
    except (ChangedFile, DownloadError) as exc:
        raise ModelLoadError(str(exc)) from exc
    except OSError as exc:
        raise ModelLoadError(f"{path} cannot be read: {exc}. {cure_for(path)}") from exc
    return path


def _set_aside_if_damaged(path: Path) -> None:
    """Only a download of ours, that cannot be read and is not what was downloaded: it is missing then."""
    # differs() is last: it reads all of the file; without it, too little memory would look like damage
    if is_download(path) and (damage := _damage(path, path)) and differs(path):
        aside = path.replace(path.with_name(f"{path.name}.damaged"))
        logger.warning("%s; it is kept as %s, and downloaded anew", damage, aside)


def _fetch(url: str, path: Path, report: ReportProgress) -> None:
    if is_offline():
        raise ModelLoadError(f"OFFLINE=true, and {path} is not there. Put there what {url} has. {FETCH_BEFORE}")

    def check(part: Path) -> None:
        if damage := _damage(part, path):
            raise ModelLoadError(f"What came from {url} is no checkpoint, perhaps a proxy's page: {damage}")
        record_download(part, path, url)

    download(url, path, report, check)


def _damage(file: Path, path: Path) -> str | None:
    """What is broken about `file`, which is or will be at `path`; None if it is whole, trusted or not."""
    try:
        _tensors(file, path.suffix)
    except _BROKEN as exc:
        return _broken(path, exc)
    except pickle.UnpicklingError:  # `read_weights` refuses it, and says how to convert it
        pass
    return None


def ensure_vocabulary(repository: str) -> Path:
    """The vocab.txt of a repository of the Hugging Face hub, where LAVIS finds it too: cached, or downloaded.

    Raises ModelLoadError.
    """
    # here: not every model needs it
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, "vocab.txt")
    if isinstance(cached, str):  # else None, or a note that the repository has no such file
        return Path(cached)
    if is_offline():
        raise ModelLoadError(
            f"OFFLINE=true, and vocab.txt of {repository} is not in the cache of the Hugging Face hub (HF_HOME). "
            f"{FETCH_BEFORE}"
        )
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
        return _tensors(path, path.suffix)
    except pickle.UnpicklingError as exc:
        raise ModelLoadError(
            f"{path} holds more than tensors, and loading it could run code, so it is not loaded: "
            f"{refused_objects(exc)}. "
            f"If you trust where it is from: .venv/bin/python -m services.captioning.convert {path}"
        ) from exc
    except _BROKEN as exc:
        raise ModelLoadError(f"{_broken(path, exc)}. {cure_for(path)}") from exc


def _tensors(file: Path, suffix: str) -> dict[str, Tensor]:
    """Raises UnpicklingError for what holds more than tensors, and _BROKEN."""
    if suffix == ".safetensors":
        mapped: dict[str, Tensor] = load_file(file)
        return mapped
    # torch's format of before 1.6 is no archive, and cannot be mapped into memory
    mappable = zipfile.is_zipfile(file)
    with file.open("rb") as opened:
        if not mappable and opened.read(1) != pickle.PROTO:
            raise EOFError("it does not begin as one")
    held = torch.load(file, map_location="cpu", mmap=mappable, weights_only=True)
    weights: dict[str, Tensor] = held.get("model", held)
    return {name: weight.detach() for name, weight in weights.items()}


def _broken(path: Path, exc: Exception) -> str:
    why = (str(exc) or type(exc).__name__).splitlines()[0]  # EOFError has no text
    return f"{path} is not a whole checkpoint: {why}"
