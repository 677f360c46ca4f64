"""Writes the section about a GPU from gpu.json."""

from __future__ import annotations

from bench.markdown import caption, fill, pipelines, share, short, table, times
from bench.plots import Figures


def gpu_section(results: Figures) -> str:
    """Return the section about the GPU: the networks by batch size, the pipelines, and the caption."""
    gpu = results["gpu"]
    parts = [part for networks in gpu["networks"] for part in _networks(networks)]
    if comparison := gpu.get("comparison"):
        parts += [fill(_about(comparison)), table(_pipelines(comparison))]
    else:
        parts.append(fill(f"The complete pipelines were not compared: {gpu['left_out']}."))
    parts.append(caption(results, "the agreement of the pipelines says nothing about real music"))
    return "\n\n".join(parts) + "\n"


def _networks(figures: Figures) -> list[str]:
    """Return text and tables of one system: a line per batch size, a line per network."""
    networks = figures["networks"]
    first, ours = networks[0], networks[-1]
    about = (
        f"The network of `{figures['model']}` on the GPU, from images in host memory to probabilities in host "
        f"memory; medians of {figures['rounds']} alternating rounds, ratios within a round. PyTorch runs as in "
        "article A: in float32, where convolutions may round to TensorFloat-32, and in float16, fully optimised."
    )
    if figures["why"]:
        about += f" Tritone's is {ours['name'].removeprefix('Tritone, ')}; {figures['why']}."
    lines = []
    for cells in zip(*(network["batches"] for network in networks), strict=True):
        line = {"rows at a time": str(cells[0]["batch"])}
        for network, cell in zip(networks, cells, strict=True):
            line[f"{network['name']}: rows/s (ms)"] = f"{short(cell['rate'])} ({short(cell['ms'])})"
            if network is not first:
                line[f"{network['name']}: to {first['name']}"] = times(cell["times"])
        lines.append(line)
    rows = [
        {
            "network": network["name"],
            "GPU memory MB": short(network["memory_mb"]),
            "GPU busy": " / ".join(share(cell["utilisation"]) or "?" for cell in network["batches"]),
            "same label": f"{network['agreement']:.1%} of {figures['rows']}",
            "probabilities within": f"{network['difference']:.1g}",
        }
        for network in networks
    ]
    batches = " / ".join(str(cell["batch"]) for cell in first["batches"])
    note = (
        "GPU memory is that of a network's process with the largest batch. GPU busy is the share of the time in "
        f"which a kernel ran, at {batches} rows. Labels and probabilities are compared with those of ONNX Runtime "
        "in float32 on the CPU."
    )
    return [fill(about), table(lines), fill(note), table(rows)]


def _about(comparison: Figures) -> str:
    return (
        f"{comparison['recordings']} distinct recordings of 30 s (stereo, 44.1 kHz, {comparison['format']}),"
        f" `{comparison['model']}`, profile `{comparison['profile']}`, all networks on the GPU. The pipelines"
        f" alternate for {comparison['rounds']} rounds; Tritone receives {comparison['concurrency']} concurrent"
        " requests over gRPC, response cache off. CPU time is per recording; memory is host memory."
    )


def _pipelines(comparison: Figures) -> list[dict[str, str]]:
    """Return the table of pipelines with the utilisation of the GPU."""
    lines = pipelines(comparison)
    return [
        line | {"GPU busy": share(row["utilisation"])} for line, row in zip(lines, comparison["rows"], strict=True)
    ]
