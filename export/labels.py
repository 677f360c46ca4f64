"""Names of the classes, in the order of the outputs of the networks.

The ccmusic tables are those of the data set ccmusic-database/music_genre and of its authors' demonstration:
16 genres, grouped into 9 and into 2. The AcousticSense list belongs to no released checkpoint; weights that
were trained on it say so in a labels.json beside them. The emotions are those of Emotion2Vec+'s tokens.txt, its
`<unk>` under the name that its users know.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export.errors import ExportError


@dataclass(frozen=True)
class Label:
    """A class in English and in Chinese."""

    en: str
    zh: str


@dataclass(frozen=True)
class Level:
    """A coarser grouping: `members[i]` is the index among `labels` of the group of class i."""

    name: str
    labels: tuple[Label, ...]
    members: tuple[int, ...]


@dataclass(frozen=True)
class LabelSet:
    """Classes in output order, and their groupings."""

    labels: tuple[Label, ...]
    levels: tuple[Level, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def manifest(self) -> dict[str, Any]:
        """The entries `labels` and `levels` of a manifest."""
        return {"labels": [asdict(a) for a in self.labels], "levels": [asdict(a) for a in self.levels]}


def _labels(*pairs: tuple[str, str]) -> tuple[Label, ...]:
    return tuple(Label(*pair) for pair in pairs)


CCMUSIC = LabelSet(
    labels=_labels(
        ("Symphony", "交响乐"),
        ("Opera", "戏曲"),
        ("Solo", "独奏"),
        ("Chamber", "室内乐"),
        ("Pop vocal ballad", "芭乐"),
        ("Adult contemporary", "成人时代"),
        ("Teen pop", "青少年流行"),
        ("Contemporary dance pop", "当代流行舞曲"),
        ("Dance pop", "流行舞曲"),
        ("Classic indie pop", "经典独立流行"),
        ("Chamber cabaret & art pop", "室内卡巴莱与艺术流行乐"),
        ("Soul / R&B", "灵魂乐或节奏布鲁斯"),
        ("Adult alternative rock", "成人另类摇滚"),
        ("Uplifting anthemic rock", "迷幻民族摇滚"),
        ("Soft rock", "慢摇滚"),
        ("Acoustic pop", "原声流行"),
    ),
    levels=(
        Level(
            "9",
            _labels(
                ("Symphony", "交响乐"),
                ("Opera", "戏曲"),
                ("Solo", "独奏"),
                ("Chamber", "室内乐"),
                ("Pop", "流行"),
                ("Dance and house", "舞曲"),
                ("Indie", "独立音乐"),
                ("Soul / R&B", "灵魂乐或节奏布鲁斯"),
                ("Rock", "摇滚"),
            ),
            (0, 1, 2, 3, 4, 4, 4, 5, 5, 6, 6, 7, 8, 8, 8, 8),
        ),
        Level("2", _labels(("Classic", "古典"), ("Non-classic", "非古典")), (0,) * 4 + (1,) * 12),
    ),
)

EMOTIONS = LabelSet(
    _labels(
        ("angry", "生气"),
        ("disgusted", "厌恶"),
        ("fearful", "恐惧"),
        ("happy", "开心"),
        ("neutral", "中立"),
        ("other", "其他"),
        ("sad", "难过"),
        ("surprised", "吃惊"),
        ("unknown", "未知"),
    )
)

ACOUSTICSENSE = LabelSet(
    _labels(
        ("Blues", "蓝调"),
        ("Classical", "古典"),
        ("Jazz", "爵士"),
        ("Folk", "民谣"),
        ("Pop", "流行"),
        ("Electronic", "电子"),
        ("Disco", "迪斯科"),
        ("Rock", "摇滚"),
        ("Hip-Hop", "嘻哈"),
        ("Rap", "说唱"),
        ("Metal", "金属"),
        ("R&B", "节奏布鲁斯"),
        ("Reggae", "雷鬼"),
        ("World", "世界音乐"),
        ("Latin", "拉丁"),
        ("Country", "乡村"),
    )
)

NAMED = {"ccmusic": CCMUSIC, "acousticsense": ACOUSTICSENSE, "emotion2vec": EMOTIONS}


def read_labels(path: Path) -> LabelSet:
    """Read a labels.json: the name of a known set, or a list of English names or of {"en", "zh"} objects.

    Raises
    ------
    ExportError
        no JSON, an unknown name, or entries of another form
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"{path}: not JSON ({error})") from error
    if isinstance(content, str) and content in NAMED:
        return NAMED[content]
    if isinstance(content, list) and content and all(_is_label(entry) for entry in content):
        return LabelSet(tuple(Label(a, a) if isinstance(a, str) else Label(a["en"], a["zh"]) for a in content))
    raise ExportError(
        f'{path}: expected one of {", ".join(map(repr, NAMED))}, or a list of names or of {{"en": ..., "zh": ...}}'
    )


def _is_label(entry: object) -> bool:
    values: Sequence[object] = [entry]
    if isinstance(entry, dict):
        values = [entry.get("en"), entry.get("zh")]
    return all(isinstance(value, str) and value.strip() and "\n" not in value for value in values)
