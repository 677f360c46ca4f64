"""The texts of the page, in English and Chinese; `tritone_client.display.texts` has those of an answer."""

from collections.abc import Iterable
from pathlib import Path

from tritone_client.defaults import EMOTION_MODEL, MODEL
from tritone_client.display.texts import Language
from tritone_client.systems import Method

LANGUAGES: dict[Language, str] = {"en": "English", "zh": "中文"}

PAGE: dict[Language, dict[str, str]] = {
    "en": {
        "title": "Tritone",
        "tagline": "What kind of music is it? Which emotion is in the voice? Drop a recording to find out.",
        "drop": "Drop a recording here",
        "formats": "MP3, WAV, M4A, FLAC, OGG, Opus … up to {limit} MB",
        "choose": "Choose a file",
        "record": "Record",
        "stop": "Stop",
        "uploading": "Uploading …",
        "bytes": "{count} bytes",
        "examples": "Or try",
        "too_large": "This file has {size} MB, but the limit is {limit} MB: cut or compress it.",
        "not_uploaded": "The file could not be sent: is this page's server still running? Try again.",
        "no_room": "There is no room for this file: the {quota} MB for uploads are in use. Try again in a moment.",
        "crowded": "Recordings of other visitors take up this page's memory. Try again in a moment.",
        "no_microphone": "The microphone cannot be used: allow it in the browser, or choose a file.",
        "insecure": "Browsers allow the microphone only for pages on https or on this machine: choose a file.",
        "recording": "recording",
        "system": "System",
        "options": "Options",
        "crop": "Part to analyse",
        "crop_default": "The default of the system's profile",
        "crop_first": "The first 30 s",
        "crop_middle": "30 s from the middle",
        "crop_whole": "The whole recording",
        "segments": "Number of parts that vote (0: off)",
        "denoise": "Remove noise",
        "denoise_off": "No",
        "denoise_first": "Noise as in the first second",
        "denoise_quietest": "Noise as in the quietest tenth",
        "threshold": "Ask for review above this uncertainty (entropy)",
        "pictures": "Images of what the network saw",
        "explain": "Show where the network looked",
        "again": "Ask again",
        "waiting": "Drop a recording, choose a file, or record one: the answer appears here.",
        "busy": "Listening …",
        "none_served": "The server has no Tritone systems yet. This page checks again every few seconds.",
        "away": "This page checks again every few seconds and continues by itself.",
        "gone": "This upload has been deleted: uploads are kept for an hour, or less if others need the space. "
        "Choose the file again.",
        "not_explained": "The answer does not show where the network looked: this server has no networks for "
        "explanations (make explain builds them).",
        "usage": "Use it in your program",
        "command": "Command line",
        "copy_code": "Copy code",
        "copy_json": "Copy answer as JSON",
        "copied": "Copied",
        "InvalidRecording": "This recording cannot be analysed",
        "UnknownModel": "This system cannot be used",
        "ServerUnavailable": "The server cannot be reached",
        "ServerBusy": "The server is busy",
        "DeadlineExceeded": "The server took too long",
        "InferenceFailed": "The server failed",
        "unexpected": "This page failed unexpectedly (its log has details): try again.",
    },
    "zh": {
        "title": "Tritone",
        "tagline": "这是什么音乐？声音里有怎样的情绪？放入一段录音即可知晓。",
        "drop": "将录音拖放到此处",
        "formats": "MP3、WAV、M4A、FLAC、OGG、Opus 等，不超过 {limit} MB",
        "choose": "选择文件",
        "record": "录音",
        "stop": "停止",
        "uploading": "正在上传……",
        "bytes": "{count} 字节",
        "examples": "或试试示例",
        "too_large": "此文件有 {size} MB，最多可发送 {limit} MB：请截取或压缩。",
        "not_uploaded": "文件未能发送：本页面的服务是否仍在运行？请重试。",
        "no_room": "暂时没有空间存放此文件：供上传的 {quota} MB 都在使用中。请稍后重试。",
        "crowded": "其他访客的录音占满了本页面用于提问的内存。请稍后重试。",
        "no_microphone": "无法使用麦克风：请在浏览器中允许，或选择文件。",
        "insecure": "浏览器只允许 https 或本机页面使用麦克风：请选择文件。",
        "recording": "录音",
        "system": "系统",
        "options": "选项",
        "crop": "听哪一部分",
        "crop_default": "按系统的预处理方式",
        "crop_first": "前 30 秒",
        "crop_middle": "中间 30 秒",
        "crop_whole": "全部",
        "segments": "分成几段投票（0 为不分段）",
        "denoise": "降噪",
        "denoise_off": "不降噪",
        "denoise_first": "以第一秒为噪声",
        "denoise_quietest": "以最安静的十分之一为噪声",
        "threshold": "不确定性（熵）高于此值时请人工复核",
        "pictures": "显示几幅网络所见的图像",
        "explain": "显示网络关注之处",
        "again": "重新询问",
        "waiting": "拖放录音、选择文件或现场录音，答案会显示在这里。",
        "busy": "正在聆听……",
        "none_served": "服务器尚未提供 Tritone 的系统。本页面每隔几秒会再看一次。",
        "away": "本页面每隔几秒会再看一次，恢复后自动继续。",
        "gone": "上传的文件已不在：文件在一小时后删除，或更早为他人让出空间。请重新选择。",
        "not_explained": "未显示网络关注之处：此服务器没有用于解释的网络（可用 make explain 生成）。",
        "usage": "在程序中使用",
        "command": "命令行",
        "copy_code": "复制代码",
        "copy_json": "复制 JSON 答案",
        "copied": "已复制",
        "InvalidRecording": "无法回答这段录音",
        "UnknownModel": "无法询问这个系统",
        "ServerUnavailable": "服务器不在",
        "ServerBusy": "服务器繁忙",
        "DeadlineExceeded": "服务器超时",
        "InferenceFailed": "服务器出错",
        "unexpected": "本页面这边出现了意外情况（其日志中有详情）：请重试。",
    },
}

SYSTEMS: dict[Language, dict[str, tuple[str, str]]] = {
    "en": {
        "musicnn_msd": ("Music tags", "musicnn, trained on the Million Song Dataset"),
        "musicnn_mtt": ("Instruments and sound", "musicnn, trained on MagnaTagATune"),
        "vgg19_bn_cqt": ("Music genre · CQT", "VGG19-BN on a CQT spectrogram"),
        "vit_b_16_mel": ("Music genre · mel", "ViT-B/16 on a mel spectrogram"),
        "emotion2vec_plus_large": ("Speech emotion", "Emotion2Vec+ on the waveform"),
    },
    "zh": {
        "musicnn_msd": ("音乐标签", "musicnn，以百万歌曲数据集训练"),
        "musicnn_mtt": ("乐器与音色", "musicnn，以 MagnaTagATune 训练"),
        "vgg19_bn_cqt": ("音乐流派 · CQT", "VGG19-BN，CQT 频谱图"),
        "vit_b_16_mel": ("音乐流派 · 梅尔", "ViT-B/16，梅尔频谱图"),
        "emotion2vec_plus_large": ("语音情感", "Emotion2Vec+，直接聆听语音"),
    },
}

METHOD_OF_DEFAULT: dict[str, Method] = {MODEL: "classify", EMOTION_MODEL: "emotion"}
DEFAULT: dict[Language, str] = {"en": " · default of {method}()", "zh": " · {method}() 的默认系统"}

TAGGERS = ("musicnn_msd", "musicnn_mtt")
"""Systems of independent tags, which have no measure of uncertainty."""

EXAMPLES: dict[str, tuple[Method, dict[Language, str]]] = {
    "song": ("classify", {"en": "Prelude · music", "zh": "前奏曲 · 音乐"}),
    "medley": ("classify", {"en": "Medley, 3 min · music", "zh": "串烧 3 分钟 · 音乐"}),
    "call": ("emotion", {"en": "Voice · speech", "zh": "人声 · 语音"}),
    "arpeggio": ("classify", {"en": "Arpeggio · music", "zh": "琶音 · 音乐"}),
    "bells": ("classify", {"en": "Bells · music", "zh": "钟声 · 音乐"}),
    "kick and hat": ("classify", {"en": "Kick and hat · music", "zh": "底鼓与镲 · 音乐"}),
    "organ": ("classify", {"en": "Organ · music", "zh": "管风琴 · 音乐"}),
    "plucked strings": ("classify", {"en": "Plucked strings · music", "zh": "拨弦 · 音乐"}),
    "sustained chord": ("classify", {"en": "Sustained chord · music", "zh": "长音和弦 · 音乐"}),
}
"""Stem of a file that `make examples` writes -> the method that suits it, and what one hears."""


def example_name(path: Path, language: Language) -> str:
    """Return what one hears in an example; the file's stem if it is not known here."""
    return EXAMPLES[path.stem][1][language] if path.stem in EXAMPLES else path.stem


def example_method(path: Path) -> Method | None:
    """Return the method that suits an example; None if it is not known here."""
    return EXAMPLES[path.stem][0] if path.stem in EXAMPLES else None


def system_name(system: str, language: Language) -> str:
    """Return a system's purpose and its network, in two lines; its name if it is not known here.

    The second line marks the system that a method asks by default.
    """
    purpose, *network = SYSTEMS[language].get(system, (system,))
    default = DEFAULT[language].format(method=METHOD_OF_DEFAULT[system]) if system in METHOD_OF_DEFAULT else ""
    return "\n".join([purpose, *(f"{line}{default}" for line in network)])


def in_order(systems: Iterable[str]) -> list[str]:
    """Return systems in the page's order: the known ones, then the others by name."""
    known = list(SYSTEMS["en"])
    return sorted(systems, key=lambda name: (known.index(name) if name in known else len(known), name))


def preferred(accept_language: str) -> Language:
    """Return the preferred language in an Accept-Language header (RFC 9110), English without a match."""
    ranges = []
    for place, language_range in enumerate(accept_language.lower().split(",")):
        tag, _, quality = language_range.strip().partition(";q=")
        try:
            ranges.append((-float(quality or 1), place, tag.strip()[:2]))
        except ValueError:
            continue
    known = [
        language for quality, _, tag in sorted(ranges) for language in LANGUAGES if language == tag and quality
    ]
    return known[0] if known else "en"
