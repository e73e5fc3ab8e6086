"""The front door: settings in, application out.

    python REST.py                                                  starts gunicorn
    gunicorn -c config/gunicorn.conf.py 'REST:create_app()'         the same
"""

import logging
import os
import sys
from functools import partial

from config.env_file import export_library_settings
from config.settings import ENV_FILE, Settings, SettingsError
from config.values import CHECKOUT
from services.captioning.batcher import Batcher
from services.captioning.captioner import Captioner, LoadCaptioner, ReportProgress
from services.emoji.map_file import MapFileError, load_map
from services.images.decode import decode
from services.images.fetch import UrlFetcher
from services.images.files import FileReader
from services.images.source import SourceReader
from services.pipeline import Pipeline
from services.web import app as web
from services.web.options import WebOptions

STOP_MARGIN_S = 1.0  # between the last refusal and the end of the process, so that the answers get out

logger = logging.getLogger(__name__)


def create_app() -> web.Application:
    """The application on the settings of the environment; its model begins to load.

    Raises SettingsError, and MapFileError for a broken emoji map.
    """
    export_library_settings(ENV_FILE)
    settings = Settings.from_env()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for ours in (__name__, "services"):  # libraries keep to warnings
        logging.getLogger(ours).setLevel(settings.log_level.upper())
    for warning in settings.warnings:
        logger.warning(warning)
    batcher = Batcher(
        [_loader(settings, device) for device in settings.devices], settings.queue_capacity, settings.max_batch
    )
    application = web.create_app(_web_options(settings), _pipeline(settings, batcher))

    def begin_drain() -> None:
        application.extensions["drain"].set()
        batcher.stop(settings.drain_s + settings.grace_s - STOP_MARGIN_S)

    application.extensions["begin_drain"] = begin_drain
    application.config["DRAIN_SECONDS"] = settings.drain_s
    batcher.start()
    return application


def _loader(settings: Settings, device: str) -> LoadCaptioner:
    def load(report: ReportProgress) -> Captioner:
        # here, in the device's thread: importing torch takes seconds in which /health should answer
        from services.captioning.engines import load_captioner

        return load_captioner(settings.model, settings.engine, device, report)

    return load


def _pipeline(settings: Settings, batcher: Batcher) -> Pipeline:
    reader = SourceReader(
        UrlFetcher(settings.max_image_bytes, allow_private=settings.allow_private_urls),
        FileReader(settings.image_roots, settings.max_image_bytes),
        settings.max_image_bytes,
    )
    return Pipeline(
        reader=reader,
        decode=partial(decode, max_pixels=settings.max_image_pixels),
        batcher=batcher,
        emoji_map=load_map(settings.emoji_map),
        decode_slots=settings.decode_slots,
        url_timeout_s=settings.url_timeout_s,
    )


def _web_options(settings: Settings) -> WebOptions:
    return WebOptions(
        service_name=settings.service_name,
        private=settings.private,
        cors_origins=settings.cors_origins,
        max_image_bytes=settings.max_image_bytes,
        request_timeout_s=settings.request_timeout_s,
        model=settings.model,
    )


def main() -> None:
    try:
        load_map(Settings.from_env().emoji_map)  # here already, for a plain message
    except (SettingsError, MapFileError) as error:
        sys.exit(str(error))
    os.chdir(CHECKOUT)
    os.execv(
        sys.executable, [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.conf.py", "REST:create_app()"]
    )


if __name__ == "__main__":
    main()
