"""Which models are served, and the names that a request may call them by."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.errors import ModelNotConfigured

DEFAULT_NAME = "blip"  # the default model, whichever that is


@dataclass(frozen=True)
class ServedModel:
    name: str  # as in MODEL and MODELS
    short_name: str  # without a slash, for a path


class ServedModels:
    """The models that are served, the default one first. No name makes another one load."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._models = tuple(models)
        self._named = {name: model for model in models for name in (model.name, model.short_name)}
        self._named.setdefault(DEFAULT_NAME, self.default)

    @property
    def default(self) -> ServedModel:
        return self._models[0]

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models)

    def get(self, name: str) -> ServedModel:
        """The model of that name or short name; "" is the default one. Raises ModelNotConfigured."""
        if not name:
            return self.default
        if name not in self._named:
            *served, last = [model.name for model in self]
            only = f"{', '.join(served)} and {last} are" if served else f"{last} is"
            raise ModelNotConfigured(f"The model {name} is not served here, only {only}")
        return self._named[name]
