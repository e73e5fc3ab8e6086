"""What can be set, as one table: the fields of `Settings`. .env.example and the README are printed from it.

    process environment ─┐
                         ├─▶ text ─▶ Kind.parse ─▶ Settings (frozen) ─▶ plain values for the stages
    .env ────────────────┘   (the environment wins)

`python -m config.settings_docs` prints the README's table, with `--env-example` the other file.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from config import values as kinds
from config.env_file import EnvFile, read_env_file
from config.values import CHECKOUT, Spec, number, setting, whole_number

ENV_FILE = CHECKOUT / ".env"
IN_CONTAINER = "CAPTIONS_CONTAINER"  # set by the image alone


class SettingsError(ValueError):
    """The settings cannot be used. problems: one sentence each, with name, value and what is allowed."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n  ".join(("The settings cannot be used:", *problems)))
        self.problems = problems


@dataclass(frozen=True)
class Settings:
    """All settings, typed. Each field's meaning, unit and range stand in its row below."""

    port: int = setting("PORT", 7777, whole_number(1, 65535), "The port to listen on.")
    private: bool = setting(
        "PRIVATE", False, kinds.BOOLEAN, "Listen on 127.0.0.1 only, and refuse requests for other host names."
    )
    auto_update: bool = setting(
        "AUTO_UPDATE",
        True,
        kinds.BOOLEAN,
        "Refresh the emoji map at the start and every EMOJI_MAP_REFRESH_SECONDS, if EMOJI_MAP_URL or "
        "EMOJI_MAP_GITHUB says from where. With false the last copy on disk is used, and no network.",
    )
    offline: bool = setting(
        "OFFLINE",
        False,
        kinds.BOOLEAN,
        "Download nothing, neither model files nor emoji maps; what is missing is named, and how to fetch it.",
    )
    model: str = setting(
        "MODEL",
        "blip_caption/large_coco",
        kinds.MODEL,
        "The model that captions: the bundled demonstration model (demo) or one of LAVIS's.",
    )
    models: tuple[str, ...] = setting(
        "MODELS",
        (),
        kinds.MODELS,
        "In place of MODEL: several models, of which a request chooses one by `model`; the first is the default. "
        "Each has QUEUE_CAPACITY places of its own.",
    )
    model_idle_s: float = setting(
        "MODEL_IDLE_SECONDS",
        0.0,
        number(0, 604_800),
        "After how long without a request a model is unloaded, and its memory given back; the next request loads "
        "it again, and waits for it. 0: never.",
        unit="seconds",
    )
    engine: str = setting(
        "ENGINE",
        "auto",
        kinds.one_of("auto", "lavis"),
        "What runs the model; auto: the fast path for the BLIP captioners, LAVIS for the others.",
    )
    devices: tuple[str, ...] = setting(
        "DEVICE",
        ("auto",),
        kinds.DEVICES,
        "Where the model runs; auto: the GPU if it works, else the CPU. Several GPUs share one queue.",
    )
    precision: str = setting(
        "PRECISION",
        "auto",
        kinds.one_of("auto", "fp32", "bf16", "fp16", "int8", "int4"),
        "Of the fast paths; auto: LAVIS's own (fp32 on a CPU; BLIP-2 on a GPU: fp16, with T5 bf16). BLIP: int8 on "
        "CPUs, bf16 and fp16 on GPUs. BLIP-2: bf16, int8 and int4 on CPUs, bf16 and fp16 on GPUs (T5 no fp16). "
        "Faster or smaller, and some captions differ.",
    )
    image_roots: tuple[Path, ...] = setting(
        "IMAGE_ROOTS",
        (CHECKOUT / "examples",),
        kinds.EXISTING_FOLDERS,
        "The folders whose pictures the `file` input may name. Relative ones start at the checkout.",
        empty_counts=True,
    )
    max_image_bytes: int = setting(
        "MAX_IMAGE_BYTES",
        33_554_432,
        whole_number(1, 2**30),
        "The largest picture file accepted.",
        unit="bytes",
    )
    max_image_pixels: int = setting(
        "MAX_IMAGE_PIXELS",
        50_000_000,
        whole_number(1, 10**9),
        "The largest picture accepted, width times height.",
        unit="pixels",
    )
    decode_slots: int = setting(
        "DECODE_SLOTS",
        8,
        whole_number(1, 256),
        "How many pictures are decoded at once; of those above 12.5 million pixels two. Each takes up to 24 bytes "
        "a pixel.",
        unit="pictures",
    )
    queue_capacity: int = setting(
        "QUEUE_CAPACITY",
        64,
        whole_number(1, 1024),
        "How many pictures may wait for the model; more are refused as overloaded.",
        unit="pictures",
    )
    max_batch: int = setting(
        "MAX_BATCH",
        8,
        whole_number(1, 64),
        "How many pictures are captioned at once, where that many wait; fewer where each gets several captions.",
        unit="pictures",
    )
    request_timeout_s: float = setting(
        "REQUEST_TIMEOUT_SECONDS",
        120.0,
        number(0.1, 3600),
        "The longest a request may take, waiting included.",
        unit="seconds",
    )
    model_call_timeout_s: float = setting(
        "MODEL_CALL_TIMEOUT_SECONDS",
        # by then all who waited behind it have passed the default deadline twice
        300.0,
        number(1, 86_400),
        "The longest a call of the model may take, for a whole batch. After it the model counts as hung, and the "
        "process restarts.",
        unit="seconds",
    )
    url_timeout_s: float = setting(
        "URL_TIMEOUT_SECONDS",
        20.0,
        number(0.1, 600),
        "The longest the fetch of a URL may take.",
        unit="seconds",
    )
    url_allowed_ports: tuple[int, ...] = setting(
        "URL_ALLOWED_PORTS", (80, 443), kinds.PORTS, "The ports that a URL may name, on any host."
    )
    url_allowed_hosts: tuple[str, ...] = setting(
        "URL_ALLOWED_HOSTS",
        (),
        kinds.HOST_NAMES,
        "Host names that URLs may have although they lead to a private network or to this machine.",
    )
    url_allowed_networks: tuple[kinds.Network, ...] = setting(
        "URL_ALLOWED_NETWORKS",
        (),
        kinds.NETWORKS,
        "Networks that URLs may lead to although they are not public, whatever the host's name.",
    )
    url_fetch_proxy: str = setting(
        "URL_FETCH_PROXY",
        "",
        kinds.PROXY,
        "The proxy through which all URLs are fetched. It looks up the names, so it must refuse private "
        "addresses itself.",
    )
    service_name: str = setting("SERVICE_NAME", "blip2", kinds.NAME, "What `service` is in every answer.")
    cors_origins: tuple[str, ...] = setting(
        "CORS_ORIGINS",
        ("*",),
        kinds.ORIGINS,
        "The web pages that may call the service. With PRIVATE=true the default is empty.",
        empty_counts=True,
    )
    api_keys_file: Path | None = setting(  # noqa: RUF009 - setting() is a dataclass field
        "API_KEYS_FILE",
        None,
        kinds.OPTIONAL_FILE,
        "The API keys that are let in, a line for each, as `python -m services.web.keys NAME` prints it. Read at "
        "the start. A relative path starts at the checkout.",
    )
    rate_limit: str = setting(
        "RATE_LIMIT",
        "",
        kinds.RATE,
        "How many requests each API key, or each address without one, may make. Health checks and the page do not "
        "count.",
    )
    trusted_proxies: tuple[kinds.Network, ...] = setting(
        "TRUSTED_PROXIES",
        (),
        kinds.NETWORKS,
        "The proxies in front of the service whose X-Forwarded-For, -Proto, -Host and -Prefix are believed.",
    )
    drain_s: float = setting(
        "DRAIN_SECONDS",
        3.0,
        number(0, 600),
        "How long a stopping service still answers new requests (503) before it closes its port.",
        unit="seconds",
    )
    grace_s: float = setting(
        "GRACE_SECONDS",
        25.0,
        number(0, 3600),
        "How long running requests may take to finish after that.",
        unit="seconds",
    )
    log_level: str = setting(
        "LOG_LEVEL",
        "info",
        kinds.one_of("debug", "info", "warning", "error", "critical"),
        "The least serious messages that are logged.",
    )
    log_format: str = setting(
        "LOG_FORMAT",
        "text",
        kinds.one_of("text", "json"),
        "How they look: text for a terminal, or one JSON object a line for what collects logs.",
    )
    tracing: bool = setting(
        "TRACING",
        False,
        kinds.BOOLEAN,
        "Send a trace of each request by OpenTelemetry (OTLP over HTTP); where to, its own OTEL_* say. Needs the "
        "packages of requirements.tracing.txt.",
    )
    emoji_map: Path = setting(  # noqa: RUF009 - setting() is a dataclass field
        "EMOJI_MAP",
        CHECKOUT / "emoji_map.yaml",
        kinds.EXISTING_FILE,
        "The map from words to emojis: YAML, or an emoji_mappings.json of the old service (with mwe.txt beside "
        "it). A relative path starts at the checkout.",
    )
    emoji_map_url: str = setting(
        "EMOJI_MAP_URL",
        "",
        kinds.HTTPS_URL,
        "Where a map is published that replaces EMOJI_MAP, once it was fetched; of either kind.",
    )
    emoji_map_github: str = setting(
        "EMOJI_MAP_GITHUB", "", kinds.GITHUB_FILE, "The same for a file of a public repository on GitHub."
    )
    emoji_map_refresh_s: int = setting(
        "EMOJI_MAP_REFRESH_SECONDS",
        3600,
        whole_number(60, 604_800),
        "How often the published map is looked at; give or take a tenth.",
        unit="seconds",
    )
    # Sentences about foreign names in .env; to be logged once, by whoever makes the app.
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def host(self) -> str:
        """The address to listen on."""
        return "127.0.0.1" if self.private else "0.0.0.0"

    @property
    def served_models(self) -> tuple[str, ...]:
        """The default one first."""
        return self.models or (self.model,)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, env_file: Path | None = ENV_FILE) -> Self:
        """Settings from `environ` (None: os.environ as it is now), then from `env_file` (None: no file).

        Texts are trimmed; an empty one means "not set", except for IMAGE_ROOTS and CORS_ORIGINS.
        Raises SettingsError that names everything that is wrong, in both places, at once.
        """
        table = dict(specs())
        file = read_env_file(env_file, [spec.env for spec in table.values()]) if env_file else EnvFile({})
        sources = {"the environment": os.environ if environ is None else environ}
        if env_file:
            sources[env_file.name] = file.values
        problems = list(file.problems)
        values: dict[str, Any] = {}
        for name, spec in table.items():
            source, text = _first_set(spec, sources)
            if source is None:
                continue
            try:
                values[name] = spec.kind.parse(text)
            except ValueError:
                problems.append(f"{spec.env}={text!r} in {source}; allowed: {spec.allowed}")
        if values.get("models") and values.get("model", values["models"][0]) != values["models"][0]:
            problems.append(
                f"MODEL={values['model']!r} and MODELS={','.join(values['models'])!r} are both set and differ; "
                "allowed: one of them, or MODEL the first of MODELS"
            )
        if values.get("emoji_map_url") and values.get("emoji_map_github"):
            problems.append("EMOJI_MAP_URL and EMOJI_MAP_GITHUB are both set; allowed: one of them")
        if values.get("private") and sources["the environment"].get(IN_CONTAINER):
            problems.append(
                "PRIVATE=true would be out of reach from outside of this container; allowed: false, with the port "
                "published for this machine alone: docker run -p 127.0.0.1:7777:7777"
            )
        if problems:
            raise SettingsError(tuple(problems))
        if values.get("private"):
            values.setdefault("cors_origins", ())
        return cls(**values, warnings=file.warnings)


def specs() -> Iterator[tuple[str, Spec]]:
    """(field name, its row) of every setting, in the order of the table."""
    return ((f.name, f.metadata["spec"]) for f in fields(Settings) if "spec" in f.metadata)


def _first_set(spec: Spec, sources: Mapping[str, Mapping[str, str]]) -> tuple[str | None, str]:
    """(source, text) of the first source that sets it; (None, "") when none does."""
    for source, texts in sources.items():
        text = texts.get(spec.env, "").strip()
        if text or (spec.empty_counts and spec.env in texts):
            return source, text
    return None, ""
