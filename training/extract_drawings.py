"""Cut the drawings of `training.things` out of Noto Color Emoji, once, when the list of things changes.

    python -m training.extract_drawings /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf

The font is Debian's `fonts-noto-color-emoji` (SIL Open Font License 1.1). Its glyphs are bitmaps of 136 × 128
pixels, drawn by Pillow at the only size the font has; they are cropped and centred on a square.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from training.scenes import DRAWINGS
from training.things import THINGS

FONT_SIZE = 109  # the one strike of the font, in pixels per em
SIDE = 128


def draw_glyph(font: ImageFont.FreeTypeFont, emoji: str) -> Image.Image:
    canvas = Image.new("RGBA", (192, 192), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((20, 20), emoji.replace("\ufe0f", ""), font=font, embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise ValueError(f"the font has no picture of {emoji}")
    glyph = canvas.crop(box)
    glyph.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    square.paste(glyph, ((SIDE - glyph.width) // 2, (SIDE - glyph.height) // 2))
    return square


def main() -> None:
    font = ImageFont.truetype(sys.argv[1], FONT_SIZE)
    DRAWINGS.mkdir(exist_ok=True)
    for thing in THINGS:
        draw_glyph(font, thing.emoji).save(DRAWINGS / thing.drawing, optimize=True)
    print(f"{len(THINGS)} drawings in {Path(DRAWINGS).name}/")


if __name__ == "__main__":
    main()
