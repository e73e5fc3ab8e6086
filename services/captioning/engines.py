"""Which engine runs a model: the fast path where there is one, else LAVIS."""

from services.captioning.captioner import Captioner, ReportProgress


def load_captioner(model: str, engine: str, device: str, precision: str, report: ReportProgress) -> Captioner:
    """Load `model` ("demo" or "name/type") by `engine` ("auto", "lavis") onto `device`, in `precision`.

    Raises ModelLoadError or DeviceError, each with the cause and the cure.
    """
    # here: each engine imports torch, and LAVIS takes seconds more
    from services.captioning.blip.model import BLIP_MODELS
    from services.captioning.blip2.model import BLIP2_MODELS

    if engine == "auto" and model in BLIP_MODELS:
        from services.captioning.blip.captioner import load_blip_captioner

        return load_blip_captioner(model, device, precision, report)
    if engine == "auto" and model in BLIP2_MODELS:
        from services.captioning.blip2.loading import load_blip2_captioner

        return load_blip2_captioner(model, device, precision, report)
    if precision != "auto":
        from services.captioning.devices import DeviceError

        raise DeviceError(
            f"PRECISION={precision} is for the fast path; LAVIS, which runs {model} here, has its own: use auto"
        )
    from services.captioning.lavis_captioner import load_lavis_captioner

    return load_lavis_captioner(model, device, report)
