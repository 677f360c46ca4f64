"""About 400 recordings as they are found in the field, made by the programs that people make them with.

Each is named by what it is, made from generated sound by Debian's ffmpeg, sox, lame, flac, opus-tools and
vorbis-tools, and where it is damaged, joined or mislabelled, by a few lines on its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache

from tests.support.making import (
    FFMPEG,
    ID3V1,
    SECONDS,
    Maker,
    Recording,
    ape,
    by,
    changed,
    cut,
    data_size,
    id3v2,
    joined,
    patched,
    piped,
    without,
    xing,
    zeroed,
)

LAME = "lame --quiet {options} {{src}} "
LOSSLESS = {
    "wav": ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_alaw", "pcm_mulaw"],
    "aiff": ["pcm_s16be", "pcm_s24be", "pcm_s32be", "pcm_s8", "pcm_f32be", "pcm_alaw"],
    "au": ["pcm_s16be", "pcm_mulaw", "pcm_f32be"],
    "caf": ["pcm_s16be", "pcm_s24le", "pcm_f32le", "alac"],
    "w64": ["pcm_s16le", "pcm_f32le"],
    "mov": ["pcm_s16le", "pcm_s24le", "alac"],
    "mka": ["pcm_s16le", "pcm_f32le", "flac", "alac", "tta", "wavpack"],
    "m4a": ["alac"],
    "flac": ["flac"],
    "oga": ["flac"],
}
LOSSY = {  # format, codec and options: rates, channels
    ("mp3", "libmp3lame -b:a 128k"): ((44100, 2), (48000, 1), (32000, 2), (22050, 1), (16000, 2), (8000, 1)),
    ("mp3", "libmp3lame -q:a 4"): ((44100, 2), (48000, 2), (24000, 1), (11025, 1)),
    ("mp2", "mp2 -b:a 128k"): ((44100, 2), (48000, 1), (22050, 1)),
    ("ogg", "libvorbis"): ((44100, 2), (48000, 6), (22050, 1), (8000, 1), (96000, 2), (44100, 8)),
    ("opus", "libopus"): ((48000, 2), (24000, 1), (16000, 1), (8000, 1), (48000, 6), (48000, 8)),
    ("webm", "libopus"): ((48000, 2), (16000, 1), (48000, 6), (48000, 8)),
    ("webm", "libvorbis"): ((44100, 2), (48000, 1)),
    ("mka", "libopus"): ((48000, 2), (48000, 8)),
    ("mka", "aac"): ((44100, 2), (48000, 6), (48000, 8)),
    ("mka", "libmp3lame"): ((44100, 2),),
    ("mka", "ac3"): ((48000, 6), (44100, 2)),
    ("m4a", "aac -b:a 96k"): ((44100, 2), (48000, 1), (22050, 1), (16000, 1), (48000, 6), (8000, 1), (96000, 2)),
    ("mp4", "aac -movflags +faststart"): ((44100, 2), (48000, 2)),
    ("mp4", "aac -movflags frag_keyframe+empty_moov"): ((44100, 2), (22050, 1)),
    ("mp4", "aac -b:a 96k"): ((48000, 8),),
    ("mp4", "libmp3lame"): ((44100, 2),),
    ("mov", "adpcm_ima_qt"): ((44100, 2), (22050, 1)),
    ("3gp", "aac"): ((44100, 2), (16000, 1)),
    ("aac", "aac"): ((44100, 2), (48000, 6), (22050, 1), (16000, 1), (48000, 8)),
    ("ac3", "ac3"): ((48000, 2), (48000, 6), (44100, 1)),
    ("eac3", "eac3"): ((48000, 2), (48000, 6)),
    ("wma", "wmav2"): ((44100, 2), (22050, 1), (48000, 2)),
    ("wma", "wmav1"): ((44100, 2),),
    ("spx", "libspeex"): ((16000, 1), (8000, 1), (32000, 1)),
    ("wav", "adpcm_ms"): ((44100, 2), (8000, 1)),
    ("wav", "adpcm_ima_wav"): ((44100, 2), (8000, 1)),
    ("wav", "adpcm_yamaha"): ((22050, 1),),
    ("wav", "g722"): ((16000, 1),),
    ("wav", "g726"): ((8000, 1),),
    ("wav", "libgsm_ms"): ((8000, 1),),
    ("wav", "g723_1 -b:a 6300"): ((8000, 1),),
    ("wav", "libmp3lame"): ((44100, 2),),
    ("mka", "libtwolame"): ((44100, 2),),
}
EXACT = {"wav", "aiff", "au", "caf", "w64", "flac", "oga", "opus", "m4a", "mp4", "3gp", "ogg", "mov"}
"""Formats that declare the length of the sound to the sample."""
QUICK = {  # with those of the other families, about forty
    *(
        "wav pcm_s24le 44100x2",
        "aiff pcm_s16be 44100x2",
        "caf alac 44100x2",
        "flac flac 96000x2",
        "mka flac 48000x6",
    ),
    *("mp3 libmp3lame -b:a 128k 22050x1", "ogg libvorbis 48000x6", "opus libopus 48000x8", "webm libopus 48000x2"),
    *(
        "m4a aac -b:a 96k 44100x2",
        "mp4 aac -b:a 96k 48000x8",
        "mp4 aac -movflags frag_keyframe+empty_moov 44100x2",
    ),
    *("aac aac 22050x1", "wma wmav2 44100x2", "wav adpcm_ms 8000x1", "w64 pcm_s16le 44100x2", "ac3 ac3 48000x6"),
}


def encoded() -> Iterator[Recording]:
    """Containers, codecs, rates and channels."""
    for form, codecs in LOSSLESS.items():
        for codec in codecs:
            for sr, channels in ((44100, 2), (8000, 1), (48000, 6), (96000, 2), (48000, 8)):
                if (codec, form) == ("pcm_alaw", "aiff") and channels > 2:
                    continue
                name = f"{form} {codec} {sr}x{channels}"
                make = by(f"{FFMPEG}-c:a {codec} {{out}}", form, sr, channels)
                yield Recording(name, make, SECONDS if form in EXACT else None, quick=name in QUICK)
    for (form, codec), kinds in LOSSY.items():
        for sr, channels in kinds:
            name = f"{form} {codec} {sr}x{channels}"
            make = by(f"{FFMPEG}-c:a {codec} -strict -2 {{out}}", form, sr, channels)
            # Edit lists declare the end of the sound; ffmpeg decodes the complete last packet.
            exact = SECONDS if form in ("m4a", "3gp") or (form == "mp4" and "empty_moov" not in codec) else None
            worse = name == "mp3 libmp3lame -q:a 4 24000x1"
            tail = 0.03 if name == "wav libmp3lame 44100x2" else 0.0  # the chunk `fact`
            yield Recording(name, make, exact, tail, mpg123=worse, quick=name in QUICK)
    for options in ("-b 128", "-V 2", "-V 7 -m m", "--abr 160", "-b 64 --resample 22.05", "-V 4 -t", "-b 320 -t"):
        yield Recording(
            f"lame {options}", by(LAME.format(options=options) + "{out}", "mp3"), quick=options == "-V 2"
        )
    for options in ("-1", "-8", "--no-seektable", "-5 --lax"):
        yield Recording(f"flac {options}", by(f"flac -s -f {options} -o {{out}} {{src}}", "flac"), SECONDS)
    yield Recording("oggenc -q 3", by("oggenc -Q -q 3 -o {out} {src}", "ogg"), SECONDS)
    yield Recording("opusenc", by("opusenc --quiet --bitrate 64 {src} {out}", "opus", 48000), SECONDS)
    sox = ("au", "aiff", "aifc", "wav", "sph", "voc", "caf", "w64", "flac")
    for form in sox:
        yield Recording(f"sox {form}", by("sox {src} {out}", form, 22050, 1), SECONDS)
    for coding in ("ms-adpcm", "ima-adpcm", "gsm-full-rate", "mu-law", "a-law"):  # with the chunk `fact`
        make = by(f"sox {{src}} -e {coding} {{out}}", "wav", 8000, 1)
        yield Recording(f"sox wav {coding}", make, SECONDS, quick=coding == "ima-adpcm")
    make = by(f"{FFMPEG}-rf64 always {{out}}", "wav")
    yield Recording("rf64", make, SECONDS)


def tagged() -> Iterator[Recording]:
    """Tags before, behind and between."""
    wav, flac = by("sox {src} {out}", "wav"), by("flac -s -f -o {out} {src}", "flac")
    aiff, ogg = by("sox {src} {out}", "aiff"), by("oggenc -Q -o {out} {src}", "ogg")
    cbr, vbr = by("lame --quiet -b 128 {src} {out}", "mp3"), by("lame --quiet -V 3 {src} {out}", "mp3")
    aac, opus = by(f"{FFMPEG}-c:a aac {{out}}", "aac"), by("opusenc --quiet {src} {out}", "opus", 48000)
    for name, make in {"wav": wav, "flac": flac, "aiff": aiff, "ogg": ogg, "opus": opus}.items():
        for size in (500, 100_000):
            tag = id3v2(size, picture=size > 500)
            named = f"{name} behind an ID3 tag of {size}"
            yield Recording(named, changed(make, tag.__add__), pieces=(make,), quick=size == 500)
    for name, make in {"mp3 cbr": cbr, "mp3 vbr": vbr, "aac": aac}.items():
        for size in (500, 300_000):
            yield Recording(f"{name} behind an ID3 tag of {size}", changed(make, id3v2(size, size > 500).__add__))
    for name, tail in {
        **{"ID3v1": ID3V1, "APE": ape(), "APE and ID3v1": ape() + ID3V1, "zeros": bytes(5000)},
        "large APE": ape(60_000),
        "Lyrics3": b"LYRICSBEGININD00002" + b"LYR00100" + b"la " * 33 + b"000140LYRICS200" + ID3V1,
        "ID3v2": id3v2(3000),
    }.items():
        for kind, make in {"cbr": cbr, "vbr": vbr}.items():
            named = f"mp3 {kind} before {name}"
            yield Recording(named, changed(make, lambda data, tail=tail: data + tail), SECONDS)
    yield Recording("two ID3 tags", changed(cbr, lambda data: id3v2() + id3v2(900) + data))
    yield Recording("flac before ID3v1", changed(flac, lambda data: data + ID3V1), SECONDS, quick=True)
    chunk = b"LIST" + struct.pack("<I", 9000) + bytes(9000)
    yield Recording("wav before a LIST chunk", changed(wav, lambda data: data + chunk), SECONDS)
    yield Recording("ogg before zeros", changed(ogg, lambda data: data + bytes(4000)), SECONDS)
    cover = "-f lavfi -i color=red:s=300x300:r=1:d=1 -frames:v 1 -map 0:a -map 1:v "
    cover += "-disposition:v attached_pic -c:v mjpeg "
    for form, codec in {"m4a": "aac", "flac": "flac", "mp3": "libmp3lame"}.items():
        make = by(f"{FFMPEG}{cover}-c:a {codec} {{out}}", form)
        yield Recording(f"{form} with a cover", make, SECONDS, quick=form == "m4a")
    video = "-f lavfi -i testsrc=s=64x64:r=5:d=12 -map 1:v -map 0:a -c:v mpeg4 "
    for form, codec in {"mp4": "aac", "mkv": "ac3", "mov": "pcm_s16le"}.items():
        make = by(f"{FFMPEG}{video}-c:a {codec} {{out}}", form)
        exact = SECONDS if form == "mp4" else None
        yield Recording(f"{form} whose video is longer", make, exact, quick=form in ("mp4", "mkv"))


def headers() -> Iterator[Recording]:
    """Headers that are absent, unfinished or wrong."""
    for options in ("-V 2", "-V 5 -m m", "--abr 128", "-b 128"):
        make = piped(f"lame --quiet {options} {{src}} -")
        yield Recording(f"mp3 piped from lame {options}", make, quick=options == "-V 2")
    for rate in ("-q:a 2", "-q:a 6 -ac 1 -ar 22050"):
        make = piped(f"{FFMPEG}-c:a libmp3lame {rate} -f mp3 -")
        yield Recording(f"mp3 piped from ffmpeg {rate}", make, quick=rate == "-q:a 2")
        make = by(f"{FFMPEG}-c:a libmp3lame {rate} -write_xing 0 {{out}}", "mp3")
        yield Recording(f"mp3 without Xing {rate}", make)
    vbr, cbr = by("lame --quiet -V 2 {src} {out}", "mp3"), by("lame --quiet -b 128 {src} {out}", "mp3")
    for factor in (0.1, 0.5, 0.9):
        yield Recording(f"Xing count x {factor}", changed(vbr, xing(factor)), quick=factor == 0.5)
        yield Recording(f"Info count x {factor}", changed(cbr, xing(factor)))
    wav = by("sox {src} {out}", "wav", 16000, 1)
    yield Recording("wav data size 0", changed(wav, data_size(0)), SECONDS, quick=True)
    yield Recording("wav sizes 0", changed(changed(wav, data_size(0)), patched(4, bytes(4))), SECONDS)
    yield Recording("wav data size -1", changed(wav, data_size(0xFFFFFFFF)), SECONDS)
    yield Recording("wav piped", piped(f"{FFMPEG}-f wav -"), SECONDS, quick=True)
    yield Recording("au piped", piped("sox {src} -t au -"), SECONDS)
    yield Recording("flac piped", piped(f"{FFMPEG}-f flac -"), SECONDS, quick=True)
    yield Recording("ogg piped", piped(f"{FFMPEG}-c:a libvorbis -f ogg -"), SECONDS)
    yield Recording("opus piped", piped(f"{FFMPEG}-c:a libopus -f ogg -", 48000), SECONDS)
    yield Recording("webm piped", piped(f"{FFMPEG}-c:a libopus -f webm -", 48000))
    yield Recording("mka piped", piped(f"{FFMPEG}-c:a aac -f matroska -"))
    yield Recording("mp4 piped", piped(f"{FFMPEG}-c:a aac -movflags frag_keyframe+empty_moov -f mp4 -"))
    yield Recording("mp3 behind 2000 zeros", changed(cbr, lambda data: bytes(2000) + data))


def clocks() -> Iterator[Recording]:
    """Clocks that do not begin at 0."""
    streams = [(form, "libopus", 48000) for form in ("webm", "opus")]
    streams += [("mka", "aac", 44100), ("mka", "libvorbis", 44100), ("ogg", "libvorbis", 44100)]
    streams += [("m4a", "aac", 44100), ("wma", "wmav2", 44100), ("mov", "pcm_s16le", 44100)]
    for form, codec, sr in streams:
        for seconds in (20, 5000):
            make = by(f"{FFMPEG}-c:a {codec} -output_ts_offset {seconds} {{out}}", form, sr)
            quick = (form, seconds) in (("webm", 20), ("opus", 5000))
            tail = 0.05 if form == "m4a" else 0.0
            yield Recording(f"{form} {codec} from {seconds} s", make, tail=tail, quick=quick)
    yield Recording("m4a of a part", by("ffmpeg -v error -y -ss 1.5 -i {src} -c:a aac {out}", "m4a"), 2.5)


def joins() -> Iterator[Recording]:
    """Files joined with cat."""

    def lame(options: str, **kind) -> Maker:
        return by(f"lame --quiet {options} {{src}} {{out}}", "mp3", **kind)

    other = {"seconds": 3.0, "seed": 1}
    yield Recording("mp3 cbr + cbr", joined(lame("-b 128"), lame("-b 128", **other)), quick=True)
    yield Recording("mp3 vbr + vbr", joined(lame("-V 3"), lame("-V 3", **other)))
    yield Recording("mp3 vbr + cbr", joined(lame("-V 3"), lame("-b 192", **other)))
    yield Recording("mp3 without tags", joined(lame("-b 128 -t"), lame("-b 128 -t", **other)))
    yield Recording("mp3 tags between", joined(lame("-b 128 --tt One"), lame("-b 128 --tt Two", **other)))
    pieces = lame("-b 128 -t"), lame("-b 64 -m m -t", **other)  # ffmpeg makes mono louder when it makes it stereo
    yield Recording("mp3 stereo + mono", joined(*pieces), pieces=pieces)
    yield Recording("mp3 44.1 + 22.05 kHz", joined(lame("-b 128 -t"), lame("-b 64 --resample 22.05 -t", **other)))
    yield Recording("three mp3", joined(lame("-V 4"), lame("-V 4", **other), lame("-V 4", seconds=2.0, seed=2)))
    aac = by(f"{FFMPEG}-c:a aac {{out}}", "aac"), by(f"{FFMPEG}-c:a aac {{out}}", "aac", **other)
    yield Recording("aac + aac", joined(*aac))
    flac, oggenc, opusenc = "flac -s -f -o {out} {src}", "oggenc -Q -o {out} {src}", "opusenc --quiet {src} {out}"
    oga = f"{FFMPEG}-c:a flac {{out}}"
    for name, pieces in {
        "flac + flac": (by(flac, "flac"), by(flac, "flac", **other)),
        "vorbis + vorbis": (by(oggenc, "ogg"), by(oggenc + " -s 77", "ogg", **other)),
        "opus + opus": (by(opusenc, "opus", 48000), by(opusenc, "opus", 48000, **other)),
        "opus stereo + mono": (by(opusenc, "opus", 48000), by(opusenc, "opus", 48000, channels=1, **other)),
        "ogg flac + ogg flac": (by(oga, "oga"), by(oga, "oga", **other)),
    }.items():
        yield Recording(
            name, joined(*pieces), 7.0, pieces=pieces, quick=name in ("vorbis + vorbis", "opus + opus")
        )


def damage() -> Iterator[Recording]:
    """Bytes that are missing, zero or cut off."""
    sources = {
        "mp3 cbr": by("lame --quiet -b 128 {src} {out}", "mp3"),
        "mp3 vbr": by("lame --quiet -V 2 {src} {out}", "mp3"),
        "flac": by("flac -s -f -o {out} {src}", "flac"),
        "vorbis": by("oggenc -Q -o {out} {src}", "ogg"),
        "opus": by("opusenc --quiet {src} {out}", "opus", 48000),
        "aac": by(f"{FFMPEG}-c:a aac {{out}}", "aac"),
        "m4a": by(f"{FFMPEG}-c:a aac -movflags +faststart {{out}}", "m4a"),
        "webm": by(f"{FFMPEG}-c:a libopus -cluster_time_limit 400 {{out}}", "webm", 48000),
        "wma": by(f"{FFMPEG}-c:a wmav2 {{out}}", "wma"),
    }
    unclocked = {"mp3 cbr": 4 * 1152, "mp3 vbr": 4 * 1152, "aac": 4 * 1024}
    for name, make in sources.items():
        lost = unclocked.get(name, 0)
        for share in (0.3, 0.6):
            if name != "m4a":  # its index is wrong behind a cut
                missing = changed(make, without(share, 300))
                quick = (name, share) in (("mp3 cbr", 0.3), ("flac", 0.3), ("vorbis", 0.3))
                named = f"{name} without 300 bytes at {share}"
                yield Recording(named, missing, intact=make, lost=lost, quick=quick)
            zeros = changed(make, zeroed(share, 300))
            yield Recording(f"{name} with 300 zeros at {share}", zeros, intact=make, lost=lost)
        whole_packet = 0.03  # ffmpeg decodes the cut one, too
        yield Recording(
            f"{name} cut at 0.55", changed(make, cut(0.55)), tail=whole_packet, quick=name == "mp3 vbr"
        )


def gave_up() -> Iterator[Recording]:
    """Damage at which libsndfile ends an MP3 without an error, a few per cent from its beginning."""
    make = by("lame --quiet -V 2 {src} {out}", "mp3", seconds=12.0)
    for size in (100, 300, 700):
        missing = changed(make, without(0.05, size))
        named = f"mp3 of 12 s without {size} bytes at 0.05"
        yield Recording(named, missing, intact=make, begin=0.03, lost=8 * 1152, quick=size == 300)


@cache
def corpus() -> tuple[Recording, ...]:
    """All recordings."""
    return tuple(
        recording
        for family in (encoded, tagged, headers, clocks, joins, damage, gave_up)
        for recording in family()
    )
