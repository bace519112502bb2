"""Speech from text by espeak-ng, through the shared library bundled in the package espeakng-loader.

Licence: espeakng-loader redistributes espeak-ng, which is under the GPL, version 3 or later. This
project is under Apache-2.0 and uses espeak-ng only to synthesise its demonstration corpus: it is an
extra, `decomp-ser[synthetic]`, loaded when the first sentence is spoken and not at import.

No system package and no `espeak-ng` program is used: the C interface of speak_lib.h is called
through ctypes.
"""

import _ctypes
import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from processing.errors import InputError

# Constants of speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2  # samples go to the callback; espeak_Synth returns after the last one
INITIALIZE_DONT_EXIT = 0x8000  # without it, missing data ends the process
CHARS_UTF8 = 1
SYNTH_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)

_unload = getattr(_ctypes, "FreeLibrary" if os.name == "nt" else "dlclose")
_lock = threading.Lock()  # espeak-ng is not thread safe


def speak(text: str, *, voice: str = "en-us") -> tuple[np.ndarray, int]:
    """Speak one sentence at the voice's own rate and pitch.

    The same arguments give the same samples, whatever was spoken before. Threads take turns. The
    voice is one of espeak-ng with an optional variant, such as "en-us" or "en-us+f4". Returns
    float64 samples (S,) at full scale 1.0 and their rate in Hz; 22050 for the voices that espeak-ng
    synthesises itself.

    Raises:
        InputError: if espeakng-loader is missing or does not start, the voice is unknown, or the
            text has nothing to say.
    """
    chunks: list[np.ndarray] = []

    @SYNTH_CALLBACK
    def collect(samples, num_samples, events):
        if samples and num_samples > 0:
            chunks.append(np.ctypeslib.as_array(samples, (num_samples,)).copy())
        return 0  # go on

    with _lock, _fresh_library() as (library, sampling_rate):
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise InputError(
                f"espeak-ng has no voice {voice!r}. Expected a language with an optional variant, "
                "such as 'en-us+f4'."
            )
        library.espeak_SetSynthCallback(collect)
        encoded = text.encode()
        num_bytes = ctypes.c_size_t(len(encoded) + 1)  # with the final zero
        library.espeak_Synth(encoded, num_bytes, 0, 0, 0, CHARS_UTF8, None, None)
    waveform = np.concatenate(chunks) / 32768.0
    if not waveform.any():
        raise InputError(f"espeak-ng has nothing to say for the text {text!r}. Expected words.")
    return waveform, sampling_rate


@contextmanager
def _fresh_library() -> Iterator[tuple[ctypes.CDLL, int]]:
    """Load and initialise espeak-ng; unload it afterwards.

    espeak-ng carries noise and phase positions from one sentence to the next in static variables,
    which neither espeak_Terminate nor espeak_ng_SetRandSeed resets. Unloading the library does, for
    10 ms.
    """
    try:
        import espeakng_loader
    except ImportError as error:
        raise InputError(
            "The demonstration corpus is spoken by espeak-ng, but its package espeakng-loader is "
            "not installed. Install it with: pip install 'decomp-ser[synthetic]'"
        ) from error
    data_path = espeakng_loader.get_data_path()
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        sampling_rate = library.espeak_Initialize(
            AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path.encode(), INITIALIZE_DONT_EXIT
        )
        if sampling_rate <= 0:
            raise InputError(
                f"espeak-ng cannot read its data in '{data_path}'. Install espeakng-loader again; "
                "if the path is long, use a shorter one (espeak-ng takes fewer than 160 bytes)."
            )
        yield library, sampling_rate
        library.espeak_Terminate()
    finally:
        _unload(library._handle)
