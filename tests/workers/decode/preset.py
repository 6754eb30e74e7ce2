"""How the usual model wants its pictures."""

from workers.decode.preprocessing import Preset

PRESET = Preset(
    resize_size=232,
    crop_size=224,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    interpolation="bilinear",
)
