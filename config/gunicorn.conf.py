"""How gunicorn serves. One process: the model is in memory once, and threads share it."""

import math
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))  # gunicorn runs this file by its path

from config.env_file import export_library_settings  # noqa: E402
from config.settings import ENV_FILE, Settings, SettingsError  # noqa: E402

export_library_settings(ENV_FILE)
try:
    _settings = Settings.from_env()
except SettingsError as error:
    raise SystemExit(str(error)) from None

_RUNNING = _settings.max_batch * len(_settings.devices)  # pictures with the models at once
_RESERVE = 16  # threads for saying no; probes have their own
_SLOW = 64  # threads for clients that drip their requests; each holds one until it is given up
_SWITCH_S = 0.001  # Python's own 0.005 is long for a probe that waits for several threads at each of its steps
_OWN_FILES = 100  # open in the process itself: modules, weights, logs
_FILES_OF_A_REQUEST = 4  # beside its connection: the one to the URL that it names, and the large files of a form


def _connections(wanted: int) -> int:
    """How many the process may have, once its limit of open files is raised as far as needed and allowed.

    gunicorn's worker ends when it cannot open one more; what is over the number waits outside.
    """
    files = wanted + threads * _FILES_OF_A_REQUEST + _OWN_FILES  # only who has a thread opens more
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        soft = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return wanted
    free = soft - _OWN_FILES
    # with too few for all threads, for as many connections as may have a thread each
    return min(wanted, max(free - threads * _FILES_OF_A_REQUEST, free // (1 + _FILES_OF_A_REQUEST)))


chdir = str(CHECKOUT)  # REST.py is found from anywhere
bind = f"{_settings.host}:{_settings.port}"
workers = 1  # each worker would load the weights again
worker_class = "services.web.gunicorn_worker.JsonThreadWorker"
# gunicorn itself never refuses; with fewer threads than places in the queue, requests would wait unseen
threads = _settings.queue_capacity * len(_settings.served_models) + _RUNNING + _RESERVE + _SLOW
worker_connections = _connections(threads + 1000)  # some are kept open between two requests
preload_app = False  # a model loaded before the fork cannot use CUDA
timeout = 120  # of the worker's event loop, not of requests: they have their own deadline
graceful_timeout = math.ceil(_settings.grace_s)
keepalive = 5  # seconds that an idle connection stays open for its next request
limit_request_fields = 100  # and each header of 8190 bytes at most
limit_request_line = 8190  # the most gunicorn allows: image URLs in a query can be long
# gunicorn would believe such headers of everybody on this machine; services/web/proxies.py decides who is believed
forwarded_allow_ips = ""
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # the heartbeat must not wait for a disk
control_socket_disable = True  # one way in is enough
errorlog = "-"
if _settings.log_format == "json":
    logger_class = "services.web.logs.GunicornJsonLogger"
# below info, gunicorn quotes what it received, keys and all
loglevel = "info" if _settings.log_level == "debug" else _settings.log_level


def when_ready(server: Any) -> None:
    """Let SIGTERM drain first: gunicorn would close its listeners at once, and new connections be reset."""
    close = server.handle_term

    def handle_term() -> None:
        server.handle_term = close  # a second SIGTERM does not wait
        server.log.info("Draining for %g s", _settings.drain_s)
        server.kill_workers(signal.SIGUSR2)
        timer = threading.Timer(_settings.drain_s, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()

    server.handle_term = handle_term


def post_worker_init(worker: Any) -> None:
    """SIGUSR2 (from above) begins the drain inside of the application."""
    sys.setswitchinterval(_SWITCH_S)
    signal.signal(signal.SIGUSR2, lambda *_: worker.begin_drain())
