"""The weights of published models: found where the old set-up left them, or downloaded with progress."""

import contextlib
import os
from pathlib import Path
from urllib.parse import urlsplit

import requests
import torch
from tqdm import tqdm

from services.captioning.captioner import LoadProgress, ReportProgress

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
CHUNK_BYTES = 1 << 20


class ModelLoadError(RuntimeError):
    """The model cannot be loaded; the message says why and what to do."""


def cached_path(url: str) -> Path:
    """Where LAVIS, timm and torch.hub look for the checkpoint at `url`: $TORCH_HOME/hub/checkpoints."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name


def ensure_checkpoint(url: str, report: ReportProgress) -> Path:
    """The file of the checkpoint at `url`, downloaded unless it is there.

    The file appears under its name only when it is complete. Raises ModelLoadError with the URL and the cure.
    """
    path = cached_path(url)
    if path.exists():
        return path
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
    return path


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
