#!/usr/bin/env python3
"""Builds the labelled training corpus of the content encoder. See README.md."""

import argparse
import os
import shutil
import time

from common import Prompts, manifest, say


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder of the recordings, with manifest.csv")
    parser.add_argument("--out", required=True, help="folder for the corpus; existing pairs are kept")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes-flite", type=float, default=70.0)
    parser.add_argument("--minutes-festival", type=float, default=30.0)
    parser.add_argument("--minutes-espeak", type=float, default=40.0)
    parser.add_argument("--minutes-libri", type=float, default=None, help="default: all there is")
    parser.add_argument(
        "--no-words", action="store_true",
        help="label recordings without a transcript by the phone loop alone: some five times faster, a little less right",
    )
    parser.add_argument(
        "--transcripts",
        help="CSV with columns file, transcript: what is said in recordings whose manifest does not tell, from any recogniser",
    )
    parser.add_argument(
        "--parts", default="recordings,kathleen,flite,libri,festival,espeak,german",
        help="comma-separated parts to build, in this order (default: %(default)s)",
    )
    return parser.parse_args()


def need(program, package):
    if shutil.which(program) is None:
        raise SystemExit(f"{program} is not installed (Debian package {package})")


def main():
    args = arguments()
    os.makedirs(args.out, exist_ok=True)
    texts = [row["transcript"] for row in manifest(args.data) if row["speaker"] == "kathleen_f01"]
    prompts = Prompts(texts, args.seed)

    def recordings():
        import from_recordings

        from_recordings.build(args.data, args.out)

    def kathleen():
        import align_english

        align_english.build(args.data, args.out, ["kathleen"])

    def flite():
        import from_flite

        need("flite", "flite")
        from_flite.build(args.out, prompts, args.minutes_flite)

    def libri():
        import align_english

        align_english.build(args.data, args.out, ["libri"], args.minutes_libri, not args.no_words, args.transcripts)

    def festival():
        import from_festival

        need("festival", "festival")
        from_festival.build(args.out, prompts, args.minutes_festival)

    def espeak():
        import from_espeak

        from_espeak.build(args.out, prompts, args.minutes_espeak)

    def german():
        import align_german

        align_german.build(args.data, args.out)

    parts = {f.__name__: f for f in (recordings, kathleen, flite, libri, festival, espeak, german)}
    for name in args.parts.split(","):
        if name not in parts:
            raise SystemExit(f"unknown part {name!r}; there are {', '.join(parts)}")
        started = time.time()
        parts[name]()
        say(f"{name}: {time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
