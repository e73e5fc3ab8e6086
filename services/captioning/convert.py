"""Turn a checkpoint that holds more than tensors into one that holds nothing else.

    python -m services.captioning.convert FILE                  shows its hash, and what PyTorch refuses
    python -m services.captioning.convert FILE --sha256 HASH    loads it all the same, and keeps the tensors

Checkpoints are pickles, and a pickle can run any code while it is loaded. The service never loads one that holds
other objects; a person who knows where the file is from may do so once, by its hash. The file is replaced by one
with the tensors under "model", as LAVIS reads it; the original stays beside it as FILE.original.
"""

import argparse
import pickle
import sys
from pathlib import Path
from typing import Any

import torch

from services.captioning.hashes import record_of, sha256_of


def refused_objects(exc: pickle.UnpicklingError) -> str:
    """What PyTorch found beside tensors, out of its long advice on how to switch the safety off."""
    lines = [line.strip() for line in str(exc).splitlines()]
    return next((line for line in lines if "GLOBAL" in line or "Unsupported" in line), lines[0])


def convert(path: Path) -> int:
    """Replace `path` by its tensors alone, under "model"; how many there are. Runs whatever code it holds."""
    held: Any = torch.load(path, map_location="cpu", weights_only=False)
    weights = held.get("model", held) if isinstance(held, dict) else {}
    tensors = {name: value for name, value in weights.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        sys.exit(f"{path} holds no tensors under names")
    part = path.with_name(f"{path.name}.part")
    torch.save({"model": tensors}, part)
    path.replace(path.with_name(f"{path.name}.original"))
    part.replace(path)
    record_of(path).unlink(missing_ok=True)  # it was another file's
    return len(tensors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--sha256", help="the hash of the file that you trust")
    args = parser.parse_args()
    try:
        actual = sha256_of(args.file)
        torch.load(args.file, map_location="cpu", weights_only=True)
        sys.exit(f"{args.file} holds tensors only: there is nothing to convert")
    except pickle.UnpicklingError as exc:
        found = refused_objects(exc)
    except (OSError, RuntimeError, EOFError) as exc:
        sys.exit(f"{args.file} cannot be read: {exc}")
    if args.sha256 is None:
        print(f"{args.file}\nsha256 {actual}\nholds more than tensors: {found}\n")
        print("Loading it can run any code in it. If you trust it:")
        print(f"  python -m services.captioning.convert {args.file} --sha256 {actual}")
        sys.exit(1)
    if args.sha256.lower() != actual:
        sys.exit(f"This is not the file that you trust: its sha256 is {actual}")
    print(f"{convert(args.file)} tensors kept in {args.file}; the original is {args.file}.original")


if __name__ == "__main__":
    main()
