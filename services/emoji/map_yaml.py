"""The YAML of a map file -> its keys and values with their lines; of YAML, only what a map needs.

Read by the parser's events: they know lines, show duplicate keys and aliases, and take no deeper stack for deeper
nesting, which overflows it in the C library's own composer.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import yaml

_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # the same, ten times faster
_resolve: Callable[[type, str, tuple[bool, bool]], str] = yaml.resolver.Resolver().resolve
_STRING_TAG = "tag:yaml.org,2002:str"


class Scalar(NamedTuple):
    value: str
    line: int  # from 1
    is_string: bool  # quoted, or nothing that YAML reads as a number, a truth value or the like


class Group(NamedTuple):
    """A mapping's pairs (its scalars in turn: key, value, key, ...) or a list's items."""

    scalars: list[Scalar]
    line: int
    is_mapping: bool


class YamlError(ValueError):
    """What is wrong, and in which line (from 1), or 0 where there is none."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def read_sections(content: bytes) -> Iterator[tuple[Scalar, Scalar | Group]]:
    """The top-level pairs of a YAML mapping whose values are scalars, or lists or mappings of scalars.

    Raises `YamlError`.
    """
    try:
        yield from _sections(yaml.parse(content.decode("utf-8"), Loader=_LOADER))
    except UnicodeDecodeError as exc:
        raise YamlError(0, "not UTF-8 text") from exc
    except yaml.MarkedYAMLError as exc:
        raise YamlError(exc.problem_mark.line + 1 if exc.problem_mark else 0, f"not YAML: {exc.problem}") from exc
    except yaml.YAMLError as exc:
        raise YamlError(0, f"not YAML: {' '.join(str(exc).split())}") from exc


def _sections(events: Iterator[yaml.Event]) -> Iterator[tuple[Scalar, Scalar | Group]]:
    next(events)  # the stream's beginning
    if isinstance(next(events), yaml.StreamEndEvent):
        raise YamlError(0, "the file must hold `key: value` lines")
    root = next(events)
    if not isinstance(root, yaml.MappingStartEvent):
        raise YamlError(_line(root), "the file must hold `key: value` lines")
    _refuse_anchor(root)
    for event in events:
        if isinstance(event, yaml.MappingEndEvent):
            break
        yield _scalar(event), _value(next(events), events)
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            raise YamlError(_line(event), "not YAML: more than one document")


def _value(first: yaml.Event, events: Iterator[yaml.Event]) -> Scalar | Group:
    if not isinstance(first, yaml.CollectionStartEvent):
        return _scalar(first)
    _refuse_anchor(first)
    scalars = []
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            break
        scalars.append(_scalar(event))
    return Group(scalars, _line(first), isinstance(first, yaml.MappingStartEvent))


def _scalar(event: yaml.Event) -> Scalar:
    if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None:
        _refuse_anchor(event)
        raise YamlError(_line(event), "a list or mapping where a key or value belongs")
    tag = event.tag
    if tag is None or tag == "!":
        is_plain = event.implicit[0]
        tag = _resolve(yaml.ScalarNode, event.value, (True, False)) if is_plain else _STRING_TAG
    return Scalar(event.value, _line(event), tag == _STRING_TAG)


def _refuse_anchor(event: yaml.Event) -> None:
    if getattr(event, "anchor", None) is not None:
        raise YamlError(_line(event), "anchors (&) and aliases (*) are not allowed")


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0
