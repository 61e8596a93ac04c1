"""Forced alignment that learns its models from the clips it aligns.

Every phone is a chain of three states (a pause: one), every state a small mixture of Gaussians over
cepstra. From a rough segmentation the models are estimated, the known phone sequences are aligned
anew, and so on. `Clip.segments` holds the current segmentation.
"""

import numpy as np
import scipy.fft

from common import RATE

HOP = 80  # 5 ms
STEP = HOP / RATE
STATES = 3
MIXTURE = 4


def _mel_bank(bands=26, size=512, low=80.0, high=7600.0):
    def mel(hertz):
        return 1127.0 * np.log1p(hertz / 700.0)

    edges = 700.0 * np.expm1(np.linspace(mel(low), mel(high), bands + 2) / 1127.0)
    bins = np.arange(size // 2 + 1) * RATE / size
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.clip(np.minimum(rise, fall), 0.0, None).T


_BANK = _mel_bank()
_WINDOW = np.hamming(400)


def cepstra(audio):
    """Cepstra 0..12 and their slopes, every 5 ms; row t is centred on the middle of its 5 ms."""
    noise = np.random.default_rng(0).standard_normal(len(audio)) * 3e-5
    padded = np.pad(audio + noise, (200 - HOP // 2, 200 + HOP))
    count = len(audio) // HOP
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::HOP][:count]
    frames = frames - 0.97 * np.pad(frames, ((0, 0), (1, 0)))[:, :-1]
    power = np.abs(np.fft.rfft(frames * _WINDOW, 512, axis=1)) ** 2
    base = scipy.fft.dct(np.log(power @ _BANK + 1e-8), norm="ortho", axis=1)[:, :13]
    ahead = np.pad(base, ((4, 4), (0, 0)), mode="edge")
    slope = (2.0 * (ahead[8:] - ahead[:-8]) + (ahead[6:-2] - ahead[2:-6])) / 10.0
    return np.concatenate([base, slope], axis=1)


class Clip:
    """A recording with its phones in order and a first guess of their times."""

    def __init__(self, audio, segments, pauses=("pau", "SIL")):
        self.features = cepstra(audio)
        self.segments = segments
        self.phones = [phone for _, _, phone in segments]
        self.states = []  # (phone, part) in order
        for phone in self.phones:
            self.states += [(phone, part) for part in range(1 if phone in pauses else STATES)]
        self.score = None

    def spread(self):
        """The state of each frame, each phone's time shared out evenly among its states."""
        count, index = len(self.features), 0
        owner = np.zeros(count, dtype=int)
        for start, end, phone in self.segments:
            parts = 1
            while index + parts < len(self.states) and self.states[index + parts][1] == parts:
                parts += 1
            edges = np.round(np.linspace(start, end, parts + 1) / STEP).astype(int)
            for part in range(parts):
                owner[edges[part] : edges[part + 1]] = index + part
            if edges[-1] < count:
                owner[edges[-1] :] = index + parts - 1
            index += parts
        return owner


def normalise(clips):
    """Takes mean and spread of the features out, over all clips of a speaker."""
    frames = np.concatenate([clip.features for clip in clips])
    mean, deviation = frames.mean(axis=0), frames.std(axis=0) + 1e-6
    for clip in clips:
        clip.features = (clip.features - mean) / deviation


class Models:
    def __init__(self, clips, owners):
        pool = {}
        for clip, owner in zip(clips, owners):
            for index, state in enumerate(clip.states):
                chosen = clip.features[owner == index]
                if len(chosen):
                    pool.setdefault(state, []).append(chosen)
        everything = np.concatenate([clip.features for clip in clips])
        self.default = self._fit(everything[:: max(1, len(everything) // 5000)], 1)
        self.mixtures = {}
        for state, chosen in pool.items():
            frames = np.concatenate(chosen)
            if len(frames) >= 12:
                self.mixtures[state] = self._fit(frames, min(MIXTURE, max(1, len(frames) // 100)))

    @staticmethod
    def _fit(frames, count):
        """Means, inverse variances and constants of a mixture, by k-means."""
        if len(frames) > 6000:
            frames = frames[:: len(frames) // 6000 + 1]
        order = np.argsort(frames[:, 0])
        means = np.stack([part.mean(axis=0) for part in np.array_split(frames[order], count)])
        for _ in range(6 if count > 1 else 1):
            distance = ((frames[:, None, :] - means) ** 2).sum(axis=2)
            member = distance.argmin(axis=1)
            for k in range(count):
                if (member == k).any():
                    means[k] = frames[member == k].mean(axis=0)
        whole = frames.var(axis=0)
        variances, weights = np.empty_like(means), np.empty(count)
        for k in range(count):
            mine = frames[member == k]
            own = mine.var(axis=0) if len(mine) > 1 else whole
            trust = len(mine) / (len(mine) + 20.0)
            variances[k] = np.maximum(trust * own + (1.0 - trust) * whole, 0.02)
            weights[k] = (len(mine) + 1.0) / (len(frames) + count)
        constant = np.log(weights) - 0.5 * np.log(2.0 * np.pi * variances).sum(axis=1)
        return means, 1.0 / variances, constant

    def likelihoods(self, clip):
        """Log likelihood of each frame in each state of the clip."""
        kinds = sorted(set(clip.states))
        table = np.empty((len(clip.features), len(kinds)))
        squares = clip.features**2
        for column, kind in enumerate(kinds):
            means, inverse, constant = self.mixtures.get(kind, self.default)
            score = -0.5 * (squares @ inverse.T - 2.0 * clip.features @ (means * inverse).T)
            table[:, column] = (score + constant - 0.5 * (means**2 * inverse).sum(axis=1)).max(axis=1)
        places = {kind: column for column, kind in enumerate(kinds)}
        return table[:, [places[state] for state in clip.states]]


def viterbi(likelihood, allowed=None):
    """Best monotone path from the first state to the last; the state of each frame, and its score."""
    count, states = likelihood.shape
    if count < states:
        return None, -np.inf
    if allowed is not None:
        likelihood = np.where(allowed, likelihood, likelihood - 200.0)
    score = np.full(states, -np.inf)
    score[0] = likelihood[0, 0]
    moved = np.zeros((count, states), dtype=bool)
    for t in range(1, count):
        before = np.concatenate(([-np.inf], score[:-1]))
        moved[t] = before > score
        score = np.where(moved[t], before, score) + likelihood[t]
    path = np.empty(count, dtype=int)
    state = states - 1
    for t in range(count - 1, -1, -1):
        path[t] = state
        state -= moved[t, state]
    return path, float(score[-1]) / count


def realign(clip, models, window=None):
    """Aligns a clip anew, states kept within `window` seconds of where they were; its state per frame."""
    allowed = None
    if window is not None:
        owner, reach = clip.spread(), round(window / STEP)
        count = len(owner)
        allowed = np.zeros((count, len(clip.states)), dtype=bool)
        first = np.searchsorted(owner, np.arange(len(clip.states)), side="left")
        last = np.searchsorted(owner, np.arange(len(clip.states)), side="right")
        for state in range(len(clip.states)):
            allowed[max(0, first[state] - reach) : last[state] + reach, state] = True
    path, clip.score = viterbi(models.likelihoods(clip), allowed)
    if path is None:
        return clip.spread()
    segments, index = [], 0
    while index < len(clip.states):
        following = index + 1
        while following < len(clip.states) and clip.states[following][1] > 0:
            following += 1
        start = np.searchsorted(path, index) * STEP
        end = np.searchsorted(path, following) * STEP
        segments.append((start, end, clip.states[index][0]))
        index = following
    clip.segments = segments
    return path


def train(clips, rounds=8, window=0.3):
    """Alternates estimating and aligning; returns the last models."""
    owners = [clip.spread() for clip in clips]
    for _ in range(rounds):
        models = Models(clips, owners)
        owners = [realign(clip, models, window) for clip in clips]
    return models


def drop_short_pauses(segments, shortest=0.03, pauses=("pau", "SIL")):
    """Shares pauses that are too short to be any among their neighbours."""
    out = []
    for index, (start, end, phone) in enumerate(segments):
        inner = 0 < index < len(segments) - 1
        if phone in pauses and inner and end - start < shortest:
            out[-1] = (out[-1][0], (start + end) / 2.0, out[-1][2])
            continue
        out.append((out[-1][1] if out else start, end, phone))
    return out
