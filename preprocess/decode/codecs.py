"""The FFmpeg decoders that may be used, and the names of audio streams without one."""

from __future__ import annotations

import re

from preprocess.decode import wav

# The names are FFmpeg's.
CODECS = {
    *("aac", "aac_latm", "ac3", "alac", "amrnb", "amrwb", "dca", "eac3", "evrc", "flac", "ilbc", "opus", "qcelp"),
    *("mp1", "mp1float", "mp2", "mp2float", "mp3", "mp3float", "speex", "tta", "vorbis", "wavpack"),
    *("wmav1", "wmav2", "wmapro", "wmalossless", "wmavoice"),
    *("adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "adpcm_yamaha"),
    *("g722", "g723_1", "g726", "g726le", "g729", "gsm", "gsm_ms"),
    *("pcm_alaw", "pcm_mulaw", "pcm_s8", "pcm_u8", "pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le"),
    *("pcm_s32be", "pcm_s32le", "pcm_f32be", "pcm_f32le", "pcm_f64be", "pcm_f64le"),
}
ENCRYPTED = ("drms", "enca")  # codec tags of MP4 (ISO/IEC 14496-12 8.12; drms is Apple's)

# In MP4 the handler of a track comes before the codec of its samples.
TRACK = re.compile(rb"hdlr.{8}(soun|vide|text|sbtl|meta|tmcd|hint)|stsd.{12}(.{4})", re.DOTALL)
MATROSKA = re.compile(rb"A_[A-Z0-9_/]{3,24}")


def stream_names(data: bytes) -> list[str]:
    """Return the codec names of the audio streams: MP4's four characters, Matroska's codec ID or WAV's tag."""
    if data[8:12] == b"WAVE":
        kind = wav.codec(data)
        return [f"WAV format 0x{kind[0]:04x} with {kind[1]} bits"] if kind else []
    if data[4:8] == b"ftyp":
        names, handler = [], b""
        for kind, entry in TRACK.findall(data):
            handler = kind or handler
            if entry and handler == b"soun":
                names.append(entry.decode("ascii", "replace"))
        return names
    return [name.decode() for name in dict.fromkeys(MATROSKA.findall(data[: 1 << 16]))]
