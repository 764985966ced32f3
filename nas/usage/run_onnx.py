"""Classify images with model.onnx. Needs onnxruntime, numpy and pillow.

python run_onnx.py IMAGE [IMAGE ...]
"""

import json
import sys
from pathlib import Path

import numpy
import onnxruntime
from PIL import Image, ImageOps


def read_image(path, facts):
    """Return one image as float32 [channels, side, side], as the network was trained on."""
    side, cut = facts["resize"], facts["resolution"]
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I"):
        image = Image.fromarray((numpy.asarray(image).astype(numpy.int64) >> 8).clip(0, 255).astype(numpy.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("L" if facts["channels"] == 1 else "RGB")
    if image.size != (side, side):
        image = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    edge = (side - cut) // 2
    image = image.crop((edge, edge, edge + cut, edge + cut))
    pixels = numpy.asarray(image, numpy.float32).reshape(cut, cut, facts["channels"]).transpose(2, 0, 1)
    mean, std = (numpy.array(facts[name], numpy.float32).reshape(-1, 1, 1) for name in ("mean", "std"))
    return (pixels / 255 - mean) / std


def main(paths):
    """Print the three likeliest classes of each image."""
    folder = Path(__file__).resolve().parent
    facts = json.loads((folder / "card.json").read_text(encoding="utf-8"))["network"]
    network = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    images = numpy.stack([read_image(path, facts["input"]) for path in paths])
    logits = numpy.asarray(network.run(None, {"images": images})[0])
    powers = numpy.exp(logits - logits.max(1, keepdims=True))
    likely = powers / powers.sum(1, keepdims=True)
    for path, row in zip(paths, likely.tolist(), strict=True):
        best = sorted(zip(row, facts["classes"], strict=True), reverse=True)[:3]
        print(path, ", ".join(f"{name} {100 * share:.1f} %" for share, name in best), sep=": ")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
