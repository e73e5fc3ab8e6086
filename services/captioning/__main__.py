"""Fetch all files of a model before the service needs them: for machines without a network, and for images.

    python -m services.captioning download MODEL

They go where the service looks for them, $TORCH_HOME/hub/checkpoints and the cache of the Hugging Face hub
($HF_HOME): set both as for the service. Copy the two folders to the machine without a network, and set
OFFLINE=true there. What is already there is not fetched again, and a download that broke off goes on.
"""

import argparse
import logging
import sys
from pathlib import Path

from services.captioning.blip.model import BERT_BASE_UNCASED, BLIP_MODELS
from services.captioning.blip2.hub import language_files
from services.captioning.blip2.model import BLIP2_MODELS, Blip2Model
from services.captioning.captioner import LoadProgress
from services.captioning.checkpoints import ModelLoadError, ensure_checkpoint, ensure_vocabulary


def files_of(model: str) -> list[Path]:
    """The files of `model` ("demo" or "name/type"), fetched where they were missing. Raises ModelLoadError."""
    if large := BLIP2_MODELS.get(model):
        return _files_of_blip2(large)
    if known := BLIP_MODELS.get(model):
        checkpoint, vocabulary = known.checkpoint, known.vocabulary
    else:
        from services.captioning import lavis_zoo  # here: it imports LAVIS, which takes seconds

        checkpoint = lavis_zoo.checkpoint_url(*lavis_zoo.names_in_lavis(model))
        vocabulary = BERT_BASE_UNCASED
    return [
        checkpoint if isinstance(checkpoint, Path) else ensure_checkpoint(checkpoint, _ignore),
        vocabulary if isinstance(vocabulary, Path) else ensure_vocabulary(vocabulary),
    ]


def _files_of_blip2(model: Blip2Model) -> list[Path]:
    """What was trained; the vision tower, where that was not; the language model with its tokenizer."""
    checkpoints = [where for where in (model.checkpoint, model.vision_checkpoint) if where is not None]
    language = language_files(model.language_model, _ignore)
    return [
        *(where if isinstance(where, Path) else ensure_checkpoint(where, _ignore) for where in checkpoints),
        language.folder,
        *language.weights,
    ]


def _ignore(progress: LoadProgress) -> None:
    """The bar on the terminal shows it already."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m services.captioning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="download")
    download = commands.add_parser("download", help="fetch the files of a model")
    download.add_argument("model", metavar="MODEL", help="as in the setting, such as blip_caption/large_coco")
    model = parser.parse_args().model
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        print(*files_of(model), sep="\n")
    except ModelLoadError as exc:
        sys.exit(str(exc))
    except KeyboardInterrupt:
        sys.exit("Stopped; the same command goes on from here")


if __name__ == "__main__":
    main()
