"""The corruptions by name, each with the strengths that it is tried at.

`decomp-ser stress` measures answers under all of them, and `augmentation.corruptions` trains with
those that are named. The draws of a turn are those of its key, whatever the strength, so that a
louder noise is the same noise louder.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from modeling_decomp_ser.keyed_random import fold_in, uniform
from processing.errors import InputError
from train_scripts.corruptions import codecs, effects, rooms

BABBLE_VOICES = 6
"""Other turns that babble is the sum of."""

Voices = Callable[[list[int]], list[Tensor]]
"""Gives the waveforms of other turns, (S,) each, by how many rows away they are."""


@dataclass(frozen=True)
class Corruption:
    """What may happen to a recording.

    Attributes:
        title: of tables and figures.
        unit: of the strengths; "" where there is nothing to vary.
        strengths: that are tried, from mild to strong.
        apply: from waveform (S,), strength and key to the waveform that is heard, (S',).
        package: that an installation may lack.
    """

    title: str
    unit: str
    strengths: tuple[float, ...]
    apply: Callable[..., Tensor]
    package: str | None = None


def of_strength(effect: Callable[[Tensor, float], Tensor]) -> Callable[..., Tensor]:
    """An effect that draws nothing."""
    return lambda waveform, strength, key: effect(waveform, strength)


def of_one_kind(effect: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """An effect that draws nothing and has one strength."""
    return lambda waveform, strength, key: effect(waveform)


SNRS = (30.0, 20.0, 10.0, 5.0, 0.0)
ONE_KIND = (1.0,)

CORRUPTIONS: dict[str, Corruption] = {
    "white_noise": Corruption("white noise", "dB SNR", SNRS, effects.white_noise),
    "babble": Corruption("babble", "dB SNR", SNRS, effects.babble),
    "room": Corruption(
        "room", "s reverberation", (0.3, 0.6, 1.0), rooms.in_room, "pyroomacoustics"
    ),
    "telephone": Corruption("telephone band", "", ONE_KIND, of_one_kind(effects.telephone)),
    "low_pass": Corruption(
        "low pass", "Hz", (4000.0, 2000.0, 1000.0), of_strength(effects.low_pass)
    ),
    "high_pass": Corruption(
        "high pass", "Hz", (200.0, 400.0, 800.0), of_strength(effects.high_pass)
    ),
    "sampling_rate": Corruption(
        "sampled at", "Hz", (11025.0, 8000.0), of_strength(effects.resampled)
    ),
    "mp3": Corruption("MP3", "kbit/s", (64.0, 32.0, 16.0, 8.0), of_strength(codecs.mp3)),
    "opus": Corruption("Opus", "kbit/s", (24.0, 6.0), of_strength(codecs.opus)),
    "gsm": Corruption("GSM 06.10", "", ONE_KIND, of_one_kind(codecs.gsm)),
    "a_law": Corruption("G.711 A-law", "", ONE_KIND, of_one_kind(codecs.a_law)),
    "packet_loss": Corruption("lost packets", "%", (2.0, 5.0, 10.0, 20.0), effects.lose_packets),
    "microphone": Corruption("another microphone", "dB", (6.0, 12.0), effects.other_microphone),
    "clipping": Corruption("clipping", "dB", (6.0, 12.0, 20.0), of_strength(effects.clip)),
    "louder": Corruption("louder", "dB", (10.0, 20.0), of_strength(effects.gain)),
    "quieter": Corruption(
        "quieter", "dB", (10.0, 20.0, 30.0), lambda x, strength, key: effects.gain(x, -strength)
    ),
    "silence": Corruption(
        "silence around", "s", (0.5, 1.0, 2.0), of_strength(effects.silence_around)
    ),
    "faster": Corruption("faster", "%", (1.0, 2.0, 5.0, 10.0), of_strength(effects.change_speed)),
    "slower": Corruption(
        "slower",
        "%",
        (1.0, 2.0, 5.0, 10.0),
        lambda x, strength, key: effects.change_speed(x, -strength),
    ),
}
"""Name of the setting and of the files: what it is."""


def corrupt(waveform: Tensor, name: str, strength: float, key: Tensor, voices: Voices) -> Tensor:
    """Change a recording.

    Args:
        waveform: (S,) float32 at full scale 1.0 and `SAMPLING_RATE`.
        name: of the corruption.
        strength: in its unit.
        key: randomness of the turn, int64 scalar.
        voices: of the other turns, for babble.

    Returns:
        (S',) float32.
    """
    apply = CORRUPTIONS[name].apply
    if name != "babble":
        return apply(waveform, strength, key)
    draws = uniform(fold_in(key, 13)[None], BABBLE_VOICES)[0]
    away = (draws * 2**20).to(torch.int64).tolist()
    return apply(waveform, strength, key, voices(away))


def other_turns(read: Callable[[int], Tensor], own: int, count: int) -> Voices:
    """The turns beside turn number `own` of `count`, which `read` gives by number; an InputError
    says that there is none.
    """
    if count < 2:
        raise InputError("babble is made of other turns: expected at least 2, found 1.")
    return lambda away: [read((own + 1 + steps % (count - 1)) % count) for steps in away]


def check_corruptions(names: Sequence[str], given_as: str) -> None:
    """Raise InputError for the name of no corruption."""
    unknown = [name for name in names if name not in CORRUPTIONS]
    if unknown:
        raise InputError(f"{given_as}={unknown[0]}: expected one of {', '.join(CORRUPTIONS)}.")


def describe_condition(name: str | None, strength: float | None) -> str:
    """A corruption and its strength in words.

    Examples:
        >>> describe_condition("babble", 10.0), describe_condition("gsm", 1.0)
        ('babble, 10 dB SNR', 'GSM 06.10')
        >>> describe_condition("sampling_rate", 8000.0), describe_condition(None, None)
        ('sampled at 8000 Hz', 'clean')
    """
    if name is None:
        return "clean"
    kind = CORRUPTIONS[name]
    joint = " " if kind.title.endswith(" at") else ", "
    return f"{kind.title}{joint}{strength:g} {kind.unit}" if kind.unit else kind.title
