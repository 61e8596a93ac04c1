"""libespeak-ng through ctypes: speech together with the start of each of its phonemes."""

import ctypes

import numpy as np
import soxr

from common import RATE

_SYNCHRONOUS = 2
_PHONEME_EVENTS = 0x0001
_DONT_EXIT = 0x8000
_PHONEME = 7
_CHARS_UTF8 = 1
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    def __init__(self):
        try:
            self.library = ctypes.CDLL("libespeak-ng.so.1")
        except OSError as error:
            raise SystemExit(f"libespeak-ng.so.1 is not installed (Debian package libespeak-ng1): {error}")
        self.rate = self.library.espeak_Initialize(_SYNCHRONOUS, 200, None, _PHONEME_EVENTS | _DONT_EXIT)
        if self.rate <= 0:
            raise SystemExit("libespeak-ng does not initialise (Debian package espeak-ng-data)")
        self._callback = _Callback(self._receive)  # kept: the library holds a bare pointer to it
        self.library.espeak_SetSynthCallback(self._callback)
        self._audio, self._events = [], []

    def _receive(self, samples, count, events):
        if samples and count > 0:
            self._audio.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type:
            if events[index].type == _PHONEME:
                name = events[index].id.string.decode("utf-8", "replace")
                self._events.append((events[index].sample / self.rate, name))
            index += 1
        return 0

    def voice(self, name):
        """Selects a voice such as "gmw/en-US+f3"; False if there is none of that name."""
        return self.library.espeak_SetVoiceByName(name.encode()) == 0

    def say(self, text, rate=160, pitch=50, pitch_range=50):
        """Returns (float32 audio at 16 kHz, [(start, end, phoneme mnemonic)])."""
        for parameter, value in (
            (_PARAMETER_RATE, rate), (_PARAMETER_PITCH, pitch), (_PARAMETER_RANGE, pitch_range)
        ):
            self.library.espeak_SetParameter(parameter, int(value), 0)
        self._audio, self._events = [], []
        data = text.encode("utf-8") + b"\0"
        self.library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 1, 0, _CHARS_UTF8, None, None)
        if not self._audio or not self._events:
            raise ValueError("espeak-ng said nothing")
        audio = np.concatenate(self._audio).astype(np.float32) / 32768.0
        duration = len(audio) / self.rate
        starts = [start for start, _ in self._events] + [duration]
        segments = [(start, end, name) for (start, name), end in zip(self._events, starts[1:])]
        if segments[0][0] > 0.0:
            segments.insert(0, (0.0, segments[0][0], "_"))
        return soxr.resample(audio, self.rate, RATE, quality="HQ"), segments


def split(segments, table):
    """Names phones by `table`: mnemonic -> names that share its time; empty names vanish.

    An unknown mnemonic raises ValueError.
    """
    out = []
    for start, end, name in segments:
        if name not in table and not name.startswith("_"):
            raise ValueError(f"phoneme {name!r} is not in the table")
        names = table.get(name, ["SIL"])
        for index, phone in enumerate(names):
            width = (end - start) / len(names)
            out.append((start + index * width, start + (index + 1) * width, phone))
    return out
