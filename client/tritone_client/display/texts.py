"""The texts around an answer, in English and Chinese; sentences of the server are not translated."""

from typing import Literal

Language = Literal["en", "zh"]

TEXTS: dict[Language, dict[str, str]] = {
    "en": {
        "silence": "Silence",
        "silent": "The recording is silent: there is no emotion to recognise.",
        "review": "Needs review",
        "reviewed_by": "{measure} is {value:.2f}, above {threshold:.2f}: a person should listen.",
        "slices": "Over time",
        "slices_of": "{used} of {total} slices; higher is more probable",
        "timeline_of": "smoothed; higher is more certain",
        "frames": "Every 20 ms",
        "frames_of": "averaged over 100 ms; the scores sum to 1",
        "pictures": "What the network saw",
        "explained": "orange: where it looked",
        "uncertainty": "Uncertainty",
        "uncertainty_of": "0 is certain, 1 is uncertain",
        "entropy": "Entropy",
        "margin": "Margin",
        "variation_ratio": "Variation ratio",
        "disagreement": "Disagreement",
        "agreement": "{share:.0%} of the parts agree",
        "sound": "{seconds:.1f} s of sound",
        "demo": "Demo weights: the answer means nothing for real recordings.",
        "profile": "profile {profile}",
    },
    "zh": {
        "silence": "静音",
        "silent": "没有可供判断情感的声音。",
        "review": "需要复核",
        "reviewed_by": "{measure}为 {value:.2f}，高于 {threshold:.2f}：请人工试听。",
        "slices": "随时间变化",
        "slices_of": "共 {total} 个切片，使用 {used} 个；越高越可能",
        "timeline_of": "已平滑；越高越确定",
        "frames": "每 20 毫秒",
        "frames_of": "取 100 毫秒平均；各项之和为 1",
        "pictures": "网络所见",
        "explained": "橙色为网络关注之处",
        "uncertainty": "不确定性",
        "uncertainty_of": "0 为确定，1 为不确定",
        "entropy": "熵",
        "margin": "间隔",
        "variation_ratio": "变异比",
        "disagreement": "分歧",
        "agreement": "{share:.0%} 的片段一致",
        "sound": "声音 {seconds:.1f} 秒",
        "demo": "演示权重：对真实录音，答案没有意义。",
        "profile": "预处理 {profile}",
    },
}
