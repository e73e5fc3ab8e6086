"""What the image runs: finds the folders that the container was given, then becomes REST.py.

    /images              pictures: IMAGE_ROOTS, unless that is set
    /cache               weights, vocabularies, emoji maps
    /root/.cache/torch   weights, where the command of the old service mounts them there

What the environment or a mounted .env sets is left as it is.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from config.env_file import export_library_settings, read_env_file
from config.settings import ENV_FILE, Settings, SettingsError
from config.values import CHECKOUT

CACHE = Path("/cache")
IMAGES = Path("/images")
OLD_TORCH_HOME = Path("/root/.cache/torch")
TEMPORARY = (Path("/tmp"), CACHE, Path("/dev/shm"))  # the last is small: 64 MB in Docker

WEIGHTS = {".pth", ".pt", ".bin", ".safetensors"}

Access = Callable[[Path, int], bool]


class CannotStart(Exception):
    """The message says why, and what to do."""


def mounts(mountinfo: str) -> set[Path]:
    """The mount points in a text like /proc/self/mountinfo (proc(5): the fifth field)."""
    return {Path(line.split()[4]) for line in mountinfo.splitlines()}


def container_settings(
    environ: Mapping[str, str], in_file: Mapping[str, str], mounted: set[Path]
) -> dict[str, str]:
    """What is to be added to `environ`, whose libraries' names of the .env file are there already."""
    added = {}
    if "IMAGE_ROOTS" not in environ and "IMAGE_ROOTS" not in in_file:
        added["IMAGE_ROOTS"] = str(IMAGES)
    if "TORCH_HOME" not in environ and OLD_TORCH_HOME in mounted:
        added["TORCH_HOME"] = str(OLD_TORCH_HOME)
    return added


def temporary_folder(environ: Mapping[str, str], access: Access = os.access) -> str:
    """For gunicorn's heartbeat and for uploads: TMPDIR, or the first folder that can be written.

    Raises CannotStart.
    """
    candidates = [Path(environ["TMPDIR"])] if environ.get("TMPDIR") else list(TEMPORARY)
    for folder in candidates:
        if access(folder, os.W_OK | os.X_OK):
            return str(folder)
    raise CannotStart(
        f"There is no folder for temporary files: {', '.join(map(str, candidates))} cannot be written by user "
        f"{os.getuid()}. Add --tmpfs /tmp, or mount a volume at /cache that this user may write"
    )


def mount_of(folder: Path, mounted: set[Path]) -> Path:
    """What a -v has after its colon, for `folder` to be in it."""
    around = [mount for mount in mounted - {Path("/")} if folder.is_relative_to(mount)]
    return max(around, key=lambda mount: len(mount.parts), default=folder)


def check_cache(torch_home: Path, mount: Path, access: Access = os.access) -> str:
    """What is to be said about the folder of the weights: "" where they can be downloaded to it.

    Raises CannotStart where they can be neither read nor downloaded.
    """
    checkpoints = torch_home / "hub" / "checkpoints"
    there = next(folder for folder in (checkpoints, *checkpoints.parents) if os.path.exists(folder))  # noqa: PTH110 - never raises
    listed = there.iterdir() if there == checkpoints and access(there, os.R_OK | os.X_OK) else ()
    weights = [file for file in listed if file.suffix in WEIGHTS]
    # torch itself downloads files that nobody but their owner can read
    refused = [file for file in weights if not access(file, os.R_OK)]
    if refused:
        raise CannotStart(f"{refused[0]} cannot be read{_cure(mount)}")
    if access(there, os.W_OK | os.X_OK):
        return ""
    if not weights:
        raise CannotStart(f"{there} cannot be written, and there are no weights in it{_cure(mount)}")
    return f"No other weights can be downloaded: {there} cannot be written{_cure(mount)}"


def _cure(mount: Path) -> str:
    return (
        f" (by user {os.getuid()}). FOLDER is what -v mounts at {mount}, the part before the colon. Give it to "
        f"this user: sudo chown -R {os.getuid()} FOLDER; or run as its owner: docker run --user "
        '"$(stat -c %u:%g FOLDER)" …'
    )


def main() -> None:
    export_library_settings(ENV_FILE)
    mounted = mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    os.environ.update(container_settings(os.environ, read_env_file(ENV_FILE, ()).values, mounted))
    try:
        settings = Settings.from_env()
        os.environ["TMPDIR"] = temporary_folder(os.environ)
        torch_home = Path(os.environ.get("TORCH_HOME") or CACHE / "torch")
        if set(settings.served_models) != {"demo"} and (
            warning := check_cache(torch_home, mount_of(torch_home, mounted))
        ):
            print(warning, file=sys.stderr)
    except (SettingsError, CannotStart) as error:
        sys.exit(str(error))
    os.chdir(CHECKOUT)
    os.execv(sys.executable, [sys.executable, "REST.py"])


if __name__ == "__main__":
    main()
