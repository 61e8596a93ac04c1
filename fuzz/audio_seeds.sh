#!/bin/sh
# Writes the seeds of the formats that the trainer reads but does not write: a tone of 0.05 s in each.
# Made with ffmpeg 5.1 (libvorbis, libmp3lame).
set -eu
cd "$(dirname "$0")/seeds/audio"
tone() { # NAME FORMAT OPTIONS…
    name="$1" format="$2"
    shift 2
    ffmpeg -v error -y -bitexact -f lavfi -i "sine=frequency=220:sample_rate=16000:duration=0.05" "$@" \
        -bitexact -f "$format" "$name"
}
tone flac flac -c:a flac -metadata_header_padding 0
tone flac-stereo flac -c:a flac -ac 2 -metadata_header_padding 0 -sample_fmt s32
tone ogg ogg -c:a libvorbis -q:a 0
tone mp3 mp3 -c:a libmp3lame -b:a 32k
tone mp3-stereo mp3 -c:a libmp3lame -b:a 32k -ac 2 -write_xing 0
tone aiff aiff -c:a pcm_s16be
tone aifc aiff -c:a pcm_f32be
tone wav-ima wav -c:a adpcm_ima_wav
tone wav-ms wav -c:a adpcm_ms
tone wav-alaw wav -c:a pcm_alaw
tone wav-eight-bits wav -c:a pcm_u8
tone wav-doubles wav -c:a pcm_f64le -ac 3 -t 0.01
tone rf64 wav -c:a pcm_s16le -rf64 always
