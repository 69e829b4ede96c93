"""Edges of photographs, as a ControlNet of edges takes them: `python examples/edge_images.py PHOTOS EDGES [SIDE]`.

Every image of the folder PHOTOS becomes a white drawing on black of the same name in the folder EDGES, its middle
square scaled to SIDE x SIDE pixels (1024 if not given).
"""

import sys
from pathlib import Path

from PIL import Image, ImageFilter, ImageOps

photos, edges = map(Path, sys.argv[1:3])
side = int(sys.argv[3]) if len(sys.argv) > 3 else 1024
edges.mkdir(parents=True, exist_ok=True)
for path in sorted(photos.iterdir()):
    square = ImageOps.fit(Image.open(path).convert("L"), (side + 2, side + 2))
    lines = square.filter(ImageFilter.GaussianBlur(1.5)).filter(ImageFilter.FIND_EDGES)
    ImageOps.crop(lines, 1).point(lambda level: 255 if level > 12 else 0).save(edges / f"{path.stem}.png")
