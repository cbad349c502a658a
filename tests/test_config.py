"""Settings are checked when they are set, and say what is wrong with them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.config import Config
from rudp.congestion import CongestionController, by_name
from rudp.errors import ConfigurationError
from rudp.handshake import local_parameters
from rudp.wire import MAX_SYN_PARAMETERS_SIZE, encode_parameters

BOUNDED = [f for f in fields(Config) if f.metadata.get("low") is not None]


@pytest.mark.parametrize("field", BOUNDED, ids=lambda f: f.name)
def test_bounds(field: Any) -> None:
    low, high = field.metadata["low"], field.metadata["high"]
    companion = {"initial_receive_window": {"receive_window": 64 * 1024 * 1024}}
    companion["receive_window"] = {"initial_receive_window": 4096}
    extra = companion.get(field.name, {})
    for good in (low, high):
        assert getattr(Config(**{field.name: good, **extra}), field.name) == good
    for bad in (low - 1, high + 1, float("nan"), "1", True, [], -(2**70)):
        with pytest.raises(ConfigurationError) as caught:
            Config(**{field.name: bad, **extra})
        assert str(caught.value).startswith(f"{field.name}=")
        assert isinstance(caught.value, ValueError)
    if field.metadata["optional"]:
        assert getattr(Config(**{field.name: None}), field.name) is None
    else:
        with pytest.raises(ConfigurationError):
            Config(**{field.name: None})


@pytest.mark.parametrize(
    "settings",
    [
        {"protection": "aes"},
        {"protection": None},
        {"retry": "sometimes"},
        {"security": True},
        {"congestion": 5},
        {"reset_key": b"short"},
        {"reset_key": "a string of more than 16"},
        {"application_protocol": ""},
        {"application_protocol": "x" * 256},
        {"application_protocol": ("x" * 200, "y" * 200, "z" * 200)},
        {"application_protocol": (5,)},
        {"application_protocol": tuple("x" * 33)},
        {"initial_receive_window": 8192, "receive_window": 4096},
    ],
)
def test_what_makes_no_sense(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Config(**settings)


def test_a_config_is_frozen_and_can_be_varied() -> None:
    config = Config()
    with pytest.raises(FrozenInstanceError):
        config.keepalive = 5  # type: ignore[misc]
    assert replace(config, keepalive=5).keepalive == 5
    assert config.keepalive is None
    assert replace(config) == config
    assert hash(config) == hash(Config())


def test_positional_settings_are_refused() -> None:
    with pytest.raises(TypeError):
        Config(5)  # type: ignore[misc]


@pytest.mark.parametrize("given_as", ["echo", ("echo",), ["echo"]])
def test_one_protocol_or_several(given_as: Any) -> None:
    assert Config(application_protocol=given_as).application_protocols == ("echo",)


@given(st.lists(st.text(min_size=1, max_size=80), max_size=8))
def test_whatever_is_accepted_fits_into_a_syn(names: list[str]) -> None:
    try:
        config = Config(application_protocol=tuple(names))
    except ConfigurationError:
        return
    parameters = local_parameters(config, bytes(16), config.application_protocols)
    assert len(encode_parameters(parameters)) <= MAX_SYN_PARAMETERS_SIZE


@pytest.mark.parametrize("field", BOUNDED, ids=lambda f: f.name)
def test_every_bound_can_be_sent(field: Any) -> None:
    """A setting at its bound makes parameters that the wire can carry."""
    for value in (field.metadata["low"], field.metadata["high"]):
        extra = {"initial_receive_window": 4096} if field.name == "receive_window" else {}
        config = Config(**{field.name: value, **extra})
        encode_parameters(local_parameters(config, None, ()))


def test_controllers_by_name_and_class() -> None:
    controller = by_name("model")
    assert issubclass(controller, CongestionController)
    assert by_name(controller) is controller
