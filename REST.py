"""The front door: settings in, application out.

    python REST.py                                                  starts gunicorn
    gunicorn -c config/gunicorn.conf.py 'REST:create_app()'         the same
"""

import logging
import os
import sys
import threading
from functools import partial
from importlib.util import find_spec

from config.env_file import export_library_settings
from config.models import short_name
from config.settings import ENV_FILE, Settings, SettingsError
from config.values import CHECKOUT
from services.captioning.batcher import Batcher
from services.captioning.captioner import Captioner, LoadCaptioner, ReportProgress
from services.emoji.cache import default_cache_folder
from services.emoji.in_use import MapHolder
from services.emoji.map_file import MapFileError
from services.emoji.refresher import open_map
from services.emoji.sources import PUBLISHED_MAP_URL, FetchedFile, github_url, load_map_file
from services.images.decode import decode
from services.images.fetch import UrlFetcher
from services.images.files import FileReader
from services.images.policy import UrlPolicy
from services.images.source import SourceReader
from services.pipeline import Pipeline
from services.web import app as web
from services.web.keys import KeysFileError, read_keys
from services.web.logs import begin_logging
from services.web.models import ServedModel
from services.web.options import WebOptions

# a stop, from its end backwards: all are answered, and the answers get out; no batch begins any more
STOP_MARGIN_S = 3.0
LAST_BATCH_S = 1.0

logger = logging.getLogger(__name__)


def create_app() -> web.Application:
    """The application on the settings of the environment; its model begins to load.

    Raises SettingsError, MapFileError for a broken emoji map, and KeysFileError for a broken file of API keys.
    """
    export_library_settings(ENV_FILE)
    settings = Settings.from_env()
    check_packages(settings)
    begin_logging(settings.log_format)
    for ours in (__name__, "services"):  # libraries keep to warnings
        logging.getLogger(ours).setLevel(settings.log_level.upper())
    for warning in settings.warnings:
        logger.warning(warning)
    if settings.offline:  # before the device's thread imports the libraries that read the last two
        os.environ.update(OFFLINE="true", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    batcher = Batcher(
        {
            model: [_loader(settings, model, device) for device in settings.devices]
            for model in settings.served_models
        },
        settings.queue_capacity,
        settings.max_batch,
        settings.model_call_timeout_s,
        settings.model_idle_s,
    )
    emoji_maps, refresher = open_map(
        settings.emoji_map, _map_url(settings), default_cache_folder(), _fetch_map, settings.emoji_map_refresh_s
    )
    application = web.create_app(_web_options(settings), _pipeline(settings, batcher, emoji_maps))

    def begin_drain() -> None:
        application.extensions["drain"].set()
        if refresher:
            refresher.stop()
        stop_s = settings.drain_s + settings.grace_s
        answers_s = max(stop_s - STOP_MARGIN_S, stop_s / 2)
        last_batch_s = min(LAST_BATCH_S, answers_s)
        batcher.stop(answers_s - last_batch_s, last_batch_s)

    application.extensions["begin_drain"] = begin_drain
    application.config["DRAIN_SECONDS"] = settings.drain_s
    batcher.start()
    if refresher and settings.auto_update and not settings.offline:
        refresher.start()
    return application


def check_packages(settings: Settings) -> None:
    """Raises SettingsError where a setting needs packages that are an extra."""
    if settings.tracing and not find_spec("opentelemetry"):
        how = ".venv/bin/pip install -r requirements.tracing.txt"
        raise SettingsError((f"TRACING=true needs packages that are not installed; run: {how}",))


def _loader(settings: Settings, model: str, device: str) -> LoadCaptioner:
    def load(report: ReportProgress) -> Captioner:
        # here, in the thread that loads: importing torch takes seconds in which /health should answer
        from services.captioning.engines import load_captioner

        return load_captioner(model, settings.engine, device, settings.precision, report)

    return load


def _map_url(settings: Settings) -> str:
    """Where the emoji map is published; "" for nowhere. The project's own map replaces the bundled file alone."""
    if settings.emoji_map_github:
        return github_url(settings.emoji_map_github)
    project_url = PUBLISHED_MAP_URL if settings.emoji_map == Settings.emoji_map else ""
    return settings.emoji_map_url or project_url


def _fetch_map(url: str, etag: str, stopping: threading.Event) -> FetchedFile | None:
    # here, in the refresher's thread: importing requests takes time that a start does not have
    from services.emoji.sync import MapFetcher

    return MapFetcher().fetch(url, etag, stopping)


def _pipeline(settings: Settings, batcher: Batcher, emoji_maps: MapHolder) -> Pipeline:
    reader = SourceReader(
        UrlFetcher(settings.max_image_bytes, _url_policy(settings), settings.url_fetch_proxy),
        FileReader(settings.image_roots, settings.max_image_bytes),
        settings.max_image_bytes,
    )
    return Pipeline(
        reader=reader,
        decode=partial(decode, max_pixels=settings.max_image_pixels),
        batcher=batcher,
        emoji_maps=emoji_maps,
        decode_slots=settings.decode_slots,
        url_timeout_s=settings.url_timeout_s,
    )


def _url_policy(settings: Settings) -> UrlPolicy:
    return UrlPolicy(settings.url_allowed_ports, settings.url_allowed_hosts, settings.url_allowed_networks)


def _web_options(settings: Settings) -> WebOptions:
    return WebOptions(
        service_name=settings.service_name,
        private=settings.private,
        cors_origins=settings.cors_origins,
        max_image_bytes=settings.max_image_bytes,
        request_timeout_s=settings.request_timeout_s,
        api_keys=read_keys(settings.api_keys_file) if settings.api_keys_file else None,
        rate_limit=settings.rate_limit,
        tracing=settings.tracing,
        trusted_proxies=settings.trusted_proxies,
        models=tuple(ServedModel(model, short_name(model)) for model in settings.served_models),
    )


def main() -> None:
    try:
        settings = Settings.from_env()
        check_packages(settings)
        load_map_file(settings.emoji_map)  # here already, for a plain message
        if settings.api_keys_file:
            read_keys(settings.api_keys_file)
    except (SettingsError, MapFileError, KeysFileError) as error:
        sys.exit(str(error))
    os.chdir(CHECKOUT)
    os.execv(
        sys.executable, [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.conf.py", "REST:create_app()"]
    )


if __name__ == "__main__":
    main()
