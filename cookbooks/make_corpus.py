"""Draws, synthesises and films the media of the example corpus; each carries its own description.

Run it after a change: ``python cookbooks/make_corpus.py``. It needs Pillow, PyAV, numpy and fpdf2.
What it writes is small and committed, so nothing else in the repository needs it.
"""

from __future__ import annotations

import io
import math
import wave
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from fpdf import FPDF
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

__all__ = ["main"]

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
QUERIES = HERE / "queries"
RECORDINGS = HERE / "recordings"

Point = tuple[float, float]
Samples = NDArray[np.float64]

PAPER, INK, PALE, STEEL = "#fbfaf6", "#1f2d3d", "#e4e9ee", "#b9c4cf"
BRASS, RUBBER, FUEL, ACCENT = "#d9b65c", "#4a5158", "#8fb8de", "#c8502d"
GREEN, RED = "#3f8f5b", "#c0392b"


# ---------------------------------------------------------------- drawing


class Sheet:
    """A drawing in logical pixels, drawn three times as large and scaled down for clean edges."""

    scale = 3

    def __init__(self, width: int, height: int, paper: str = PAPER) -> None:
        self.width, self.height = width, height
        self._image = Image.new("RGB", (width * self.scale, height * self.scale), paper)
        self._draw = ImageDraw.Draw(self._image)

    def _at(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self.scale, y * self.scale) for x, y in points]

    def _box(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        x0, y0, x1, y1 = box
        return (x0 * self.scale, y0 * self.scale, x1 * self.scale, y1 * self.scale)

    def line(self, *points: Point, fill: str = INK, width: float = 2) -> None:
        self._draw.line(self._at(points), fill=fill, width=round(width * self.scale), joint="curve")

    def dashes(self, start: Point, end: Point, fill: str = INK, width: float = 1.2) -> None:
        length = math.dist(start, end)
        ux, uy = (end[0] - start[0]) / length, (end[1] - start[1]) / length
        for step in range(0, int(length), 9):
            far = min(step + 5.0, length)
            a = (start[0] + ux * step, start[1] + uy * step)
            b = (start[0] + ux * far, start[1] + uy * far)
            self.line(a, b, fill=fill, width=width)

    def polygon(self, *points: Point, fill: str = PALE, outline: str = INK) -> None:
        self._draw.polygon(self._at(points), fill=fill)
        self.line(*points, points[0], fill=outline)

    def box(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        fill: str | None = PALE,
        outline: str | None = INK,
        radius: float = 5,
        width: float = 2,
    ) -> None:
        self._draw.rounded_rectangle(
            self._box((x0, y0, x1, y1)),
            radius=radius * self.scale,
            fill=fill,
            outline=outline,
            width=round(width * self.scale),
        )

    def oval(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float | None = None,
        fill: str | None = PALE,
        outline: str | None = INK,
        width: float = 2,
    ) -> None:
        ry = rx if ry is None else ry
        self._draw.ellipse(
            self._box((x - rx, y - ry, x + rx, y + ry)),
            fill=fill,
            outline=outline,
            width=round(width * self.scale),
        )

    def arc(
        self, x: float, y: float, r: float, start: float, end: float, fill: str, width: float
    ) -> None:
        self._draw.arc(
            self._box((x - r, y - r, x + r, y + r)),
            start,
            end,
            fill=fill,
            width=round(width * self.scale),
        )

    def text(
        self, x: float, y: float, text: str, size: float = 15, fill: str = INK, anchor: str = "mm"
    ) -> None:
        font = ImageFont.load_default(size * self.scale)
        self._draw.text((x * self.scale, y * self.scale), text, font=font, fill=fill, anchor=anchor)

    def arrow(self, start: Point, end: Point, fill: str = INK, width: float = 2) -> None:
        angle = math.atan2(end[1] - start[1], end[0] - start[0])
        self.line(start, end, fill=fill, width=width)
        wings = [
            (end[0] - 11 * math.cos(angle + turn), end[1] - 11 * math.sin(angle + turn))
            for turn in (0.38, -0.38)
        ]
        self._draw.polygon(self._at([end, *wings]), fill=fill)

    def callout(self, number: int, at: Point, towards: Point) -> None:
        """A numbered circle at ``at`` with a line to the part it names."""
        self.line(towards, at, fill=ACCENT, width=1.4)
        self.oval(*towards, 2.6, fill=ACCENT, outline=None)
        self.oval(*at, 13, fill="white", outline=ACCENT)
        self.text(*at, str(number), size=15, fill=ACCENT)

    def caption(self, figure: int, text: str) -> None:
        self.line((28, self.height - 40), (self.width - 28, self.height - 40), width=1)
        self.text(28, self.height - 20, f"Figure {figure}", fill=ACCENT, anchor="lm")
        self.text(104, self.height - 20, text, anchor="lm")
        self.text(self.width - 28, self.height - 20, "Sandpiper 180 · 28", 12, RUBBER, "rm")

    def image(self) -> Image.Image:
        return self._image.resize((self.width, self.height), Image.Resampling.LANCZOS)


def save_png(
    image: Image.Image, path: Path, description: str, *, title: str, photo: bool = False
) -> None:
    """Write a small PNG that says in its own metadata what it shows."""
    info = PngInfo()
    info.add_text("Title", title)
    info.add_text("Description", description)
    # MAXCOVERAGE keeps a rare colour (a red line, the orange of the callouts) that MEDIANCUT loses.
    flat = (
        image
        if photo
        else image.quantize(56, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    )
    flat.save(path, optimize=True, pnginfo=info)


# ---------------------------------------------------------------- figures


def fuel_system() -> Sheet:
    sheet = Sheet(760, 470)
    for x, name, tip in ((150, "LEFT TANK", -110), (610, "RIGHT TANK", 110)):
        sheet.polygon((x + tip, 40), (x - tip, 52), (x - tip, 112), (x + tip, 98), fill=PALE)
        sheet.polygon((x + tip, 78), (x - tip, 78), (x - tip, 112), (x + tip, 98), fill=FUEL)
        sheet.text(x, 64, name)
        sheet.text(x, 93, "95 l, 90 usable", 13)
    for x in (150, 610):
        sheet.line((x, 107), (x, 168), (380 + (22 if x > 380 else -22), 168), width=4, fill=FUEL)
    sheet.oval(380, 168, 30, fill="white")
    sheet.polygon((380, 146), (390, 178), (370, 178), fill=ACCENT)
    sheet.text(380, 122, "SELECTOR VALVE", 13)
    sheet.line((380, 198), (380, 236), width=4, fill=FUEL)
    sheet.box(350, 236, 410, 262, fill=STEEL)
    sheet.polygon((356, 262), (404, 262), (396, 298), (364, 298), fill=FUEL)
    sheet.text(336, 268, "STRAINER", 13, anchor="rm")
    sheet.line((404, 249), (500, 249), width=4, fill=FUEL)
    sheet.box(500, 226, 590, 272, fill=BRASS)
    sheet.text(545, 249, "M", 22)
    sheet.text(545, 290, "BOOST PUMP, electric", 13)
    sheet.line((590, 249), (668, 249), (668, 350), (590, 350), width=4, fill=FUEL)
    sheet.oval(548, 350, 42, fill=STEEL)
    sheet.polygon((532, 332), (576, 350), (532, 368), fill="white")
    sheet.text(548, 408, "ENGINE-DRIVEN PUMP", 13)
    sheet.arrow((506, 350), (360, 350), fill=INK, width=3)
    sheet.oval(440, 322, 20, fill="white")
    sheet.line((440, 342), (440, 350))
    sheet.line((440, 322), (450, 310), fill=ACCENT, width=3)
    sheet.text(440, 294, "PRESSURE", 12)
    sheet.box(212, 326, 360, 376, fill=STEEL)
    sheet.text(286, 351, "CARBURETTOR")
    sheet.arrow((212, 351), (140, 351), width=3)
    sheet.text(92, 351, "ENGINE", 16)
    sheet.caption(1, "Fuel system schematic, from the wing tanks to the carburettor")
    return sheet


def fuel_pump() -> Sheet:
    sheet = Sheet(760, 440)
    middle = 190
    sheet.dashes((40, middle), (726, middle))
    # 1 cover screws, 2 cover, 3 valves, 4 body, 5 diaphragm, 6 spring, 7 plunger, 8 flange
    for dy in (-62, 0, 62):
        sheet.box(46, middle + dy - 4, 74, middle + dy + 4, fill=BRASS, radius=1)
        sheet.box(38, middle + dy - 8, 48, middle + dy + 8, fill=BRASS, radius=2)
    sheet.box(112, middle - 78, 138, middle + 78, fill=STEEL)
    sheet.box(138, middle - 46, 162, middle + 46, fill=STEEL)
    for dy in (-26, 26):
        sheet.box(186, middle + dy - 15, 208, middle + dy + 15, fill=BRASS, radius=3)
        sheet.oval(197, middle + dy, 5, 9, fill="white")
    sheet.box(238, middle - 78, 316, middle + 78, fill=STEEL)
    sheet.box(258, middle - 108, 284, middle - 78, fill=BRASS, radius=2)
    sheet.box(258, middle + 78, 284, middle + 108, fill=BRASS, radius=2)
    sheet.text(271, middle - 120, "outlet", 12)
    sheet.text(271, middle + 121, "inlet", 12)
    sheet.oval(358, middle, 13, 80, fill=RUBBER)
    sheet.oval(368, middle, 8, 40, fill=STEEL)
    coils = [(402 + 13 * step / 2, middle + (34 if step % 2 else -34)) for step in range(13)]
    sheet.line(*coils, fill=INK, width=4.5)
    sheet.line(*coils, fill=STEEL, width=2)
    sheet.box(512, middle - 9, 608, middle + 9, fill=PALE, radius=3)
    sheet.box(502, middle - 18, 514, middle + 18, fill=PALE, radius=2)
    sheet.polygon(
        (638, middle - 70), (662, middle - 70), (662, middle + 70), (638, middle + 70), fill=STEEL
    )
    sheet.box(662, middle - 34, 702, middle + 34, fill=STEEL, radius=3)
    for dy in (-52, 52):
        sheet.oval(650, middle + dy, 6, 9, fill="white")
    places = (
        (1, (54, 84), (58, middle - 70)),
        (2, (128, 66), (126, middle - 60)),
        (3, (196, 96), (197, middle - 34)),
        (4, (330, 92), (306, middle - 60)),
        (5, (372, 310), (359, middle + 62)),
        (6, (440, 296), (440, middle + 20)),
        (7, (556, 270), (556, middle + 4)),
        (8, (650, 306), (652, middle + 62)),
    )
    for number, at, towards in places:
        sheet.callout(number, at, towards)
    sheet.text(
        380, 352, "1 cover screw (6)   2 cover   3 valve (2)   4 upper body   5 diaphragm", 14
    )
    sheet.text(380, 376, "6 spring, 38 mm free   7 plunger   8 mounting flange", 14)
    sheet.caption(2, "Engine-driven fuel pump, exploded view")
    return sheet


def strainer() -> Sheet:
    sheet = Sheet(760, 450)
    x = 262
    sheet.box(x - 130, 62, x + 130, 118, fill=STEEL)
    sheet.box(x - 190, 78, x - 130, 104, fill=BRASS, radius=2)
    sheet.box(x + 130, 78, x + 190, 104, fill=BRASS, radius=2)
    sheet.arrow((x - 242, 91), (x - 196, 91), fill=INK, width=3)
    sheet.arrow((x + 196, 91), (x + 242, 91), fill=INK, width=3)
    sheet.box(x - 112, 118, x + 112, 130, fill=RUBBER, radius=2)
    sheet.polygon((x - 104, 130), (x + 104, 130), (x + 92, 330), (x - 92, 330), fill="#eaf2fa")
    sheet.polygon((x - 98, 232), (x + 98, 232), (x + 92, 330), (x - 92, 330), fill=FUEL)
    sheet.polygon((x - 94, 300), (x + 94, 300), (x + 92, 330), (x - 92, 330), fill=BRASS)
    sheet.polygon((x - 66, 130), (x + 66, 130), (x + 44, 214), (x - 44, 214), fill="white")
    for step in range(1, 9):
        y = 130 + step * 9.4
        half = 66 - 22 * step / 9
        sheet.line((x - half, y), (x + half, y), width=0.9)
    for step in range(-5, 6):
        sheet.line((x + step * 12, 130), (x + step * 8, 214), width=0.9)
    sheet.line((x - 128, 100), (x - 122, 352), (x + 122, 352), (x + 128, 100), width=4)
    sheet.box(x - 12, 332, x + 12, 378, fill=BRASS, radius=2)
    sheet.box(x - 34, 362, x + 34, 384, fill=BRASS, radius=8)
    for number, y, towards, name in (
        (1, 60, (x + 100, 76), "head"),
        (2, 124, (x + 106, 124), "bowl gasket, fitted dry"),
        (3, 184, (x + 46, 184), "filter screen"),
        (4, 244, (x + 92, 262), "glass sediment bowl"),
        (5, 302, (x + 84, 316), "water and dirt collect here"),
        (6, 358, (x + 30, 374), "thumb nut, by hand, wired"),
    ):
        sheet.callout(number, (560, y), towards)
        sheet.text(582, y, name, 14, anchor="lm")
    sheet.text(x - 219, 116, "in", 14)
    sheet.text(x + 219, 116, "out", 14)
    sheet.caption(3, "Fuel strainer, section through filter screen and bowl")
    return sheet


def pressure_face(sheet: Sheet, x: float, y: float, radius: float, pressure: float) -> None:
    """Draw the gauge's face with its needle at ``pressure`` (kPa, 0 to 60)."""

    def angle(value: float) -> float:
        return 135 + 270 * value / 60

    def polar(value: float, r: float) -> Point:
        turn = math.radians(angle(value))
        return (x + r * math.cos(turn), y + r * math.sin(turn))

    sheet.oval(x, y, radius * 1.08, fill=RUBBER)
    sheet.oval(x, y, radius, fill="#14181d")
    sheet.arc(x, y, radius * 0.93, angle(14), angle(45), GREEN, radius * 0.075)
    for value in (14, 45):
        sheet.line(polar(value, radius * 0.80), polar(value, radius * 0.95), fill=RED, width=5)
    for value in range(0, 61, 5):
        long = value % 10 == 0
        sheet.line(
            polar(value, radius * (0.74 if long else 0.79)),
            polar(value, radius * 0.84),
            fill="white",
            width=2.2 if long else 1.2,
        )
        if long:
            sheet.text(*polar(value, radius * 0.59), str(value), radius * 0.13, "white")
    sheet.text(x, y + radius * 0.36, "FUEL PRESS", radius * 0.1, "white")
    sheet.text(x, y + radius * 0.52, "kPa", radius * 0.1, "white")
    tip, tail = polar(pressure, radius * 0.8), polar(pressure, -radius * 0.2)
    sheet.line(tail, tip, fill="#ffd24a", width=radius * 0.035)
    sheet.oval(x, y, radius * 0.09, fill=STEEL)


def pressure_gauge() -> Sheet:
    sheet = Sheet(640, 430)
    pressure_face(sheet, 270, 196, 156, 31)
    sheet.callout(1, (494, 60), (352, 83))
    sheet.text(516, 60, "green arc", 15, anchor="lm")
    sheet.text(516, 80, "14 to 45 kPa", 14, RUBBER, "lm")
    sheet.callout(2, (494, 138), (397, 143))
    sheet.text(516, 138, "red line, max", 15, anchor="lm")
    sheet.callout(3, (494, 216), (278, 140))
    sheet.text(516, 216, "needle", 15, anchor="lm")
    sheet.callout(4, (60, 62), (140, 154))
    sheet.text(18, 34, "red line, min", 15, anchor="lm")
    sheet.caption(4, "Fuel pressure gauge, green arc and red lines")
    return sheet


def wiring() -> Sheet:
    sheet = Sheet(760, 450)
    sheet.line((60, 62), (700, 62), width=6)
    sheet.text(60, 42, "MAIN BUS 14 V", 14, anchor="lm")
    for x in (170, 560):
        sheet.oval(x, 62, 5, fill=INK)
    # pump branch: breaker, switch, motor, earth
    sheet.line((170, 62), (170, 104))
    sheet.arc(170, 116, 13, 90, 270, INK, 2.5)
    sheet.oval(170, 104, 4, fill="white")
    sheet.oval(170, 128, 4, fill="white")
    sheet.text(148, 116, "FUEL PUMP 5 A", 14, anchor="rm")
    sheet.line((170, 132), (170, 176))
    sheet.oval(170, 180, 4, fill="white")
    sheet.line((170, 184), (192, 214), width=3)
    sheet.oval(170, 220, 4, fill="white")
    sheet.text(148, 200, "BOOST PUMP", 14, anchor="rm")
    sheet.line((170, 224), (170, 272))
    sheet.text(182, 248, "18 AWG", 12, RUBBER, "lm")
    sheet.oval(170, 302, 30, fill=BRASS)
    sheet.text(170, 302, "M", 24)
    sheet.line((170, 332), (170, 368))
    # warning branch: lamp and horn, pressure switch, earth
    sheet.line((560, 62), (560, 100))
    sheet.line((470, 100), (640, 100))
    for x in (470, 640):
        sheet.line((x, 100), (x, 128))
        sheet.line((x, 176), (x, 204))
    sheet.oval(470, 152, 24, fill="#f3c9c2")
    sheet.line((454, 136), (486, 168))
    sheet.line((486, 136), (454, 168))
    sheet.text(434, 152, "FUEL PRESS lamp", 14, anchor="rm")
    sheet.polygon((624, 140), (644, 140), (666, 126), (666, 178), (644, 164), (624, 164))
    sheet.text(682, 152, "HORN", 14, anchor="lm")
    sheet.line((470, 204), (640, 204))
    sheet.line((560, 204), (560, 262))
    sheet.text(572, 234, "pin B, 22 AWG", 12, RUBBER, "lm")
    sheet.box(496, 262, 624, 328, fill="white")
    sheet.oval(560, 276, 4, fill="white")
    sheet.line((560, 312), (580, 282), width=3)
    sheet.oval(560, 314, 4, fill="white")
    sheet.text(484, 286, "PRESSURE SWITCH", 14, anchor="rm")
    sheet.text(484, 306, "closes below 14 kPa", 13, RUBBER, "rm")
    sheet.line((560, 318), (560, 368))
    for x in (170, 560):
        for step, half in enumerate((20, 13, 6)):
            sheet.line((x - half, 368 + step * 8), (x + half, 368 + step * 8), width=2.5)
    sheet.caption(5, "Wiring diagram, boost pump and low fuel pressure warning")
    return sheet


def quantity_sender() -> Sheet:
    sheet = Sheet(700, 440)
    sheet.box(56, 92, 480, 372, fill="#eaf2fa", radius=12)
    sheet.box(58, 262, 478, 370, fill=FUEL, outline=None, radius=10)
    sheet.box(150, 74, 290, 94, fill=STEEL, radius=3)
    for x in (166, 192, 220, 248, 274):
        sheet.box(x - 5, 64, x + 5, 74, fill=BRASS, radius=1)
    sheet.box(208, 44, 232, 74, fill=PALE, radius=2)
    sheet.line((220, 44), (220, 24), (330, 24), width=2.5, fill=ACCENT)
    sheet.text(340, 24, "to the quantity gauge", 14, anchor="lm")
    sheet.box(198, 94, 242, 176, fill=BRASS)
    for step in range(7):
        y = 104 + step * 10
        sheet.line((204, y), (236, y + 5), width=1.6)
    pivot = (220.0, 164.0)
    for turn, tone in ((-16, STEEL), (46, STEEL), (26, INK)):
        end = (
            pivot[0] + 186 * math.cos(math.radians(turn)),
            pivot[1] + 186 * math.sin(math.radians(turn)),
        )
        if tone == INK:
            sheet.line(pivot, end, fill=tone, width=3)
        else:
            sheet.dashes(pivot, end, fill=RUBBER)
        fill = BRASS if tone == INK else None
        sheet.oval(*end, 30, 17, fill=fill, outline=tone)
    sheet.oval(*pivot, 6, fill="white")
    for number, y, towards, name in (
        (1, 78, (274, 69), "five screws, 2.3 N·m"),
        (2, 136, (430, 112), "full: 33 ohms"),
        (3, 196, (240, 150), "resistance winding"),
        (4, 256, (404, 244), "float"),
        (5, 316, (364, 300), "empty: 240 ohms"),
    ):
        sheet.callout(number, (520, y), towards)
        sheet.text(542, y, name, 14, anchor="lm")
    sheet.caption(6, "Fuel quantity sender, float and resistance")
    return sheet


def gauge_photo() -> Image.Image:
    """A mechanic's snapshot of the instrument: tilted, dim, the needle in the red."""
    sheet = Sheet(480, 360, "#3a3f45")
    for x, y in ((62, 54), (418, 54), (62, 306), (418, 306)):
        sheet.oval(x, y, 10, fill="#777f87", outline="#22262a")
        sheet.line((x - 6, y - 5), (x + 6, y + 5), fill="#22262a", width=2.5)
    pressure_face(sheet, 240, 180, 126, 9)
    sheet.oval(428, 180, 13, fill="#ff4a36", outline="#22262a")
    sheet.text(428, 204, "FUEL", 9, "white")
    tilted = sheet.image().rotate(-6, Image.Resampling.BICUBIC, fillcolor="#30353a")
    shade = np.linspace(1.05, 0.72, tilted.width)[None, :, None]
    dimmed = np.clip(np.asarray(tilted, dtype=np.float64) * shade, 0, 255)
    return Image.fromarray(dimmed.astype(np.uint8)).resize((400, 300), Image.Resampling.LANCZOS)


#: name -> (drawing, what it shows)
FIGURES: dict[str, tuple[Callable[[], Sheet], str]] = {
    "fuel-system": (
        fuel_system,
        (
            "Schematic of the fuel system: left and right wing tank, selector valve, strainer, "
            "electric boost pump, engine-driven pump, pressure gauge, carburettor, engine."
        ),
    ),
    "fuel-pump": (
        fuel_pump,
        (
            "Exploded view of the engine-driven fuel pump: cover screws, cover, valves, upper body "
            "with inlet and outlet, diaphragm, spring, plunger, mounting flange."
        ),
    ),
    "strainer": (
        strainer,
        (
            "Section through the fuel strainer: head, bowl gasket, filter screen, glass sediment "
            "bowl where water and dirt collect, thumb nut with safety wire."
        ),
    ),
    "pressure-gauge": (
        pressure_gauge,
        (
            "Fuel pressure gauge in kPa, needle steady in the green arc from 14 to 45, red lines "
            "at minimum and maximum."
        ),
    ),
    "wiring": (
        wiring,
        (
            "Wiring diagram: main bus, 5 A circuit breaker, boost pump switch and motor; low fuel "
            "pressure warning lamp, horn and pressure switch."
        ),
    ),
    "quantity-sender": (
        quantity_sender,
        (
            "Fuel quantity sender in the tank: float and float arm, resistance winding, 240 ohms "
            "empty and 33 ohms full, five screws."
        ),
    ),
}


# ---------------------------------------------------------------- sound

RATE = 8000


def engine(
    seconds: float, *, rpm: float, seed: int, missing: int | None = None, hiss: float = 0.05
) -> Samples:
    """A four-cylinder, four-stroke engine, two firings a turn; ``missing`` is a dead cylinder."""
    noise = np.random.default_rng(seed)
    total = int(seconds * RATE)
    sound = hiss * noise.standard_normal(total)
    gap = 60 / rpm / 2
    pulse_time = np.arange(int(0.09 * RATE)) / RATE
    firing = 0
    when = 0.0
    while when < seconds:
        start = int(when * RATE)
        if firing % 4 != missing:
            pitch = 92 + 5 * noise.standard_normal()
            decay = np.exp(-pulse_time * 48)
            pulse = np.sin(2 * np.pi * pitch * pulse_time) + 0.5 * np.sin(
                2 * np.pi * 2.4 * pitch * pulse_time
            )
            rattle = 0.4 * noise.standard_normal(pulse_time.size) * np.exp(-pulse_time * 110)
            stop = min(total, start + pulse_time.size)
            sound[start:stop] += ((pulse + rattle) * decay)[: stop - start]
        firing += 1
        when += gap * (1 + 0.02 * noise.standard_normal())
    return sound


def horn(seconds: float) -> Samples:
    """The warning horn: 820 and 640 Hz in turn, twice a second."""
    time = np.arange(int(seconds * RATE)) / RATE
    high = (time * 4).astype(np.int64) % 2 == 0
    tone = np.where(high, np.sin(2 * np.pi * 820 * time), np.sin(2 * np.pi * 640 * time))
    edge = np.minimum(1, np.abs((time * 4) % 1 - 0.5) * -20 + 10)
    return np.asarray(np.tanh(2 * tone) * np.clip(edge, 0, 1))


def run_up() -> Samples:
    """A minute beside the cowling, ten seconds each: starter, idle, run-up, misfire, horn, idle."""
    scenes = [
        0.6 * engine(10, rpm=260, seed=11, hiss=0.16),
        0.7 * engine(10, rpm=750, seed=12),
        engine(10, rpm=1700, seed=13),
        engine(10, rpm=800, seed=14, missing=2),
        0.5 * engine(10, rpm=800, seed=15) + 0.5 * horn(10),
        0.7 * engine(10, rpm=750, seed=16),
    ]
    return np.concatenate(scenes)


def save_wav(
    sound: Samples, path: Path, description: str, *, title: str, small: bool = False
) -> None:
    """Write mono with a LIST INFO chunk (INAM title, ICMT description).

    16 bits at ``RATE``; ``small`` is 8 bits at half of it.
    """
    peak = float(np.abs(sound).max())
    if small:
        halved = sound[: sound.size // 2 * 2].reshape(-1, 2).mean(axis=1)
        data = (128 + halved / peak * 100).astype(np.uint8).tobytes()
    else:
        data = (sound / peak * 0.8 * 32767).astype("<i2").tobytes()
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1 if small else 2)
        out.setframerate(RATE // 2 if small else RATE)
        out.writeframes(data)
    info = b"INFO"
    for tag, text in ((b"INAM", title), (b"ICMT", description)):
        value = text.encode() + b"\0"
        info += tag + len(value).to_bytes(4, "little") + value + b"\0" * (len(value) % 2)
    whole = buffer.getvalue() + b"LIST" + len(info).to_bytes(4, "little") + info
    path.write_bytes(whole[:4] + (len(whole) - 8).to_bytes(4, "little") + whole[8:])


# ---------------------------------------------------------------- film


def needle_frames(frames: int) -> Iterator[Image.Image]:
    """The needle swings around 30 kPa, quivers, falls below 14 kPa; then the lamp lights."""
    noise = np.random.default_rng(28)
    for frame in range(frames):
        done = frame / (frames - 1)
        steady = 30 + 1.2 * math.sin(frame / 2.5)
        fall = 1 / (1 + math.exp(-14 * (done - 0.55)))
        quiver = 2.6 * noise.standard_normal() * (0.3 < done < 0.7)
        pressure = max(4.0, steady - 24 * fall + quiver)
        sheet = Sheet(320, 240, "#3a3f45")
        pressure_face(sheet, 140, 120, 98, pressure)
        lit = pressure < 14 and frame % 4 < 3
        sheet.oval(284, 120, 14, fill="#ff4a36" if lit else "#5a2620", outline="#22262a")
        sheet.text(284, 146, "FUEL PRESS", 8, "white")
        yield sheet.image()


def restart_frames(rate: int) -> Iterator[Image.Image]:
    """A minute of the gauge after a hot restart: steady, quivering, falling, on the boost pump."""
    noise = np.random.default_rng(91)
    for frame in range(60 * rate):
        time = frame / rate
        pressure = float(np.interp(time, (0, 30, 38, 48, 52, 60), (30, 29, 9, 9, 32, 32)))
        pressure += 0.5 * math.sin(time * 2)
        if 18 <= time < 38:
            pressure += 2.4 * float(noise.standard_normal())
        sheet = Sheet(320, 240, "#3a3f45")
        pressure_face(sheet, 140, 120, 98, max(3.0, pressure))
        lit = pressure < 14 and frame % 4 < 3
        sheet.oval(284, 120, 14, fill="#ff4a36" if lit else "#5a2620", outline="#22262a")
        sheet.text(284, 146, "FUEL PRESS", 8, "white")
        pump = time >= 48
        sheet.oval(284, 40, 14, fill="#4fd17a" if pump else "#22402c", outline="#22262a")
        sheet.text(284, 66, "BOOST PUMP", 8, "white")
        yield sheet.image().resize((240, 180))


def save_restart(path: Path, description: str, *, title: str) -> None:
    """Write the minute at five pictures a second, a key frame every ten seconds."""
    rate = 5
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as out:
        out.metadata["title"] = title
        out.metadata["comment"] = description
        options = {"crf": "33", "threads": "1", "g": str(10 * rate), "sc_threshold": "0"}
        options["x264-params"] = f"keyint={10 * rate}:min-keyint={10 * rate}:scenecut=0"
        stream = out.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = 240, 180, "yuv420p"
        stream.time_base = Fraction(1, rate)
        for picture in restart_frames(rate):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")))
        out.mux(stream.encode())


def save_film(path: Path, description: str, *, title: str) -> None:
    """Write four seconds at ten pictures a second, H.264 in MP4, title and comment set."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as out:
        out.metadata["title"] = title
        out.metadata["comment"] = description
        stream = out.add_stream("libx264", rate=10, options={"crf": "27", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.time_base = Fraction(1, 10)
        for picture in needle_frames(40):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")))
        out.mux(stream.encode())


# ---------------------------------------------------------------- PDF

PARTS = (
    ("SP-28-110", "Pump, engine-driven, complete", "1", "on condition"),
    ("SP-28-111", "Diaphragm", "1", "every 500 h"),
    ("SP-28-112", "Valve, inlet and outlet", "2", "every 500 h"),
    ("SP-28-113", "Spring, 38 mm", "1", "on condition"),
    ("SP-28-114", "Gasket, mounting flange", "1", "once only"),
    ("SP-28-120", "Heat shield, stainless, 0.5 mm", "1", "new"),
    ("SP-28-121", "Clamp, heat shield", "2", "new"),
    ("AN4-6A", "Bolt, mounting", "2", "11 N·m"),
    ("SP-28-201", "Screen, fuel strainer", "1", "on condition"),
    ("SP-28-202", "Gasket, sediment bowl", "1", "every 50 h"),
)


def bulletin() -> FPDF:
    """Service bulletin of two pages with a text layer: the reason and work, then the parts list."""
    pdf = FPDF(format=(148, 210))
    pdf.set_creation_date(datetime(2026, 3, 2, tzinfo=UTC))
    pdf.set_title("Service bulletin SB 28-07, heat shield for the engine-driven fuel pump")
    pdf.set_subject(
        "Vapour lock after a hot restart: stainless heat shield between exhaust and "
        "engine-driven fuel pump, and the parts it takes."
    )
    pdf.set_author("Sandpiper 180 (an example)")
    pdf.set_margins(14, 14)
    pdf.set_auto_page_break(auto=True, margin=12)

    def head(text: str) -> None:
        pdf.set_font("helvetica", "B", 12)
        pdf.set_text_color(31, 45, 61)
        pdf.cell(0, 8, text, new_x="LMARGIN", new_y="NEXT")

    def paragraph(text: str) -> None:
        pdf.set_font("helvetica", "", 9.5)
        pdf.multi_cell(0, 4.9, text, new_x="LMARGIN", new_y="NEXT")
        pdf.ln(1.5)

    def banner(page: str) -> None:
        pdf.set_fill_color(31, 45, 61)
        pdf.set_text_color(255, 255, 255)
        pdf.set_font("helvetica", "B", 11)
        pdf.cell(0, 9, f"  SERVICE BULLETIN SB 28-07 · {page}", fill=True)
        pdf.ln(13)

    pdf.add_page()
    banner("Sandpiper 180 · page 1 of 2")
    head("Heat shield for the engine-driven fuel pump")
    paragraph("Applies to: serial numbers 1001 to 1188. Compliance: within 50 hours or 3 months.")
    head("Reason")
    paragraph(
        "On hot days fuel in the pump boiled when the engine was restarted within thirty minutes. "
        "Vapour lock followed: the fuel pressure needle quivered and fell, and the engine ran "
        "rough. The exhaust pipe passes the pump at 60 mm without a shield."
    )
    head("Work")
    paragraph(
        "1. Carry out Safety before work on the fuel system, 28-00-02.\n"
        "2. Clamp the stainless heat shield SP-28-120 to the exhaust pipe with two clamps "
        "SP-28-121. Gap to the pump: at least 15 mm all round.\n"
        "3. Torque the clamps to 2.8 N·m (25 lbf·in).\n"
        "4. Run the engine for ten minutes, shut down, restart after fifteen. Fuel pressure must "
        "stay above 20 kPa.\n5. Enter SB 28-07 in the log book."
    )
    head("Time and weight")
    paragraph("1.5 hours. 0.14 kg at station 0.62 m; no new weighing.")
    pdf.add_page()
    banner("Sandpiper 180 · page 2 of 2")
    head("Parts list")
    pdf.set_font("helvetica", "", 9)
    widths = (26, 58, 12, 24)
    pdf.set_draw_color(185, 196, 207)
    for row in (("Part number", "Name", "Qty", "Note"), *PARTS):
        pdf.set_font("helvetica", "B" if row[0] == "Part number" else "", 9)
        for width, cell in zip(widths, row, strict=True):
            pdf.cell(width, 7, cell, border="B")
        pdf.ln(7)
    return pdf


def shield() -> Image.Image:
    """The heat shield in its place between exhaust pipe and pump."""
    sheet = Sheet(420, 220)
    sheet.box(30, 30, 390, 66, fill="#d8cfc6", radius=16)
    sheet.text(210, 48, "exhaust pipe", 12)
    sheet.line((80, 92), (110, 84), (310, 84), (340, 92), fill=ACCENT, width=5)
    for x in (120, 300):
        sheet.line((x, 84), (x, 28), fill=STEEL, width=6)
        sheet.text(x, 16, "clamp 2.8 N·m", 9)
    sheet.text(372, 94, "shield", 10)
    sheet.box(150, 128, 270, 200, fill=BRASS)
    sheet.text(210, 164, "fuel pump", 12)
    sheet.line((210, 88), (210, 126), fill=INK, width=1.5)
    sheet.text(262, 107, "15 mm or more", 10)
    return sheet.image()


def letter() -> FPDF:
    """Service letter of one page with a text layer, a picture in it and the picture's caption."""
    pdf = FPDF(format=(148, 210))
    pdf.set_creation_date(datetime(2026, 4, 9, tzinfo=UTC))
    pdf.set_title("Service letter SL 28-11, fitting the heat shield")
    pdf.set_subject(
        "How the heat shield sits between exhaust pipe and fuel pump: two clamps, gap of 15 mm."
    )
    pdf.set_author("Sandpiper 180 (an example)")
    pdf.set_margins(14, 14)
    pdf.add_page()
    pdf.set_font("helvetica", "B", 14)
    pdf.multi_cell(0, 7.7, "Fitting the heat shield", new_x="LMARGIN", new_y="NEXT")
    pdf.ln(3)
    pdf.set_font("helvetica", "", 9.5)
    pdf.multi_cell(
        0,
        5.2,
        "Owners have asked which way round the heat shield of bulletin SB 28-07 goes. The rolled "
        "edge points away from the pump, and both clamps sit outside the rolled edge. Figure 1 "
        "shows the shield in its place.",
        new_x="LMARGIN",
        new_y="NEXT",
    )
    pdf.ln(3)
    pdf.image(shield(), x=14, w=120)
    pdf.ln(2)
    pdf.set_font("helvetica", "I", 8.5)
    caption = "Figure 1. Heat shield between exhaust pipe and fuel pump, gap and clamps"
    pdf.cell(0, 5, caption, new_x="LMARGIN", new_y="NEXT")
    pdf.ln(3)
    pdf.set_font("helvetica", "", 9.5)
    pdf.multi_cell(
        0,
        5.2,
        "Measure the gap with the engine cold. Rattling after the first flight means a clamp that "
        "was tightened before the shield was centred: loosen both, centre, tighten again.",
    )
    return pdf


# ---------------------------------------------------------------- all of it


def main() -> None:
    """Write every medium of the corpus and of the queries."""
    for folder in ("figures", "sounds", "clips"):
        (CORPUS / folder).mkdir(parents=True, exist_ok=True)
    QUERIES.mkdir(exist_ok=True)
    RECORDINGS.mkdir(exist_ok=True)
    for name, (draw, description) in FIGURES.items():
        save_png(
            draw().image(),
            CORPUS / "figures" / f"{name}.png",
            description,
            title=description.split(":")[0].split(",")[0],
        )
    save_png(
        gauge_photo(),
        QUERIES / "gauge-photo.png",
        "Snapshot of the cockpit: fuel pressure gauge, the needle has fallen below the green arc "
        "to the red line at 9 kPa, red lamp lit.",
        title="Fuel pressure gauge, photo",
        photo=True,
    )
    sounds = {
        CORPUS / "sounds" / "idle.wav": (
            engine(2.5, rpm=750, seed=1),
            "Engine at idle, 750 rpm, all four cylinders firing evenly.",
        ),
        CORPUS / "sounds" / "misfire.wav": (
            engine(2.5, rpm=720, seed=2, missing=2),
            "Engine misfire at idle: one cylinder drops out regularly, the engine runs rough.",
        ),
        CORPUS / "sounds" / "low-pressure-horn.wav": (
            horn(1.5),
            "Low fuel pressure warning horn, two tones, twice a second.",
        ),
        QUERIES / "engine-recording.wav": (
            engine(2, rpm=700, seed=5, missing=1, hiss=0.12),
            (
                "Phone recording beside the cowling: the engine runs rough at idle, one cylinder "
                "misfires."
            ),
        ),
    }
    for path, (sound, description) in sounds.items():
        save_wav(sound, path, description, title=path.stem.replace("-", " "))
    save_film(
        CORPUS / "clips" / "needle-falls.mp4",
        "Needle of the fuel pressure gauge quivers, falls below 14 kPa to the red line, and the "
        "low fuel pressure warning lamp lights.",
        title="Fuel pressure falls",
    )
    bulletin().output(str(CORPUS / "SB-28-07.pdf"))
    letter().output(str(CORPUS / "SL-28-11.pdf"))
    save_wav(
        run_up(),
        RECORDINGS / "run-up.wav",
        "Recording of an engine run-up beside the cowling, one minute.",
        title="Run-up",
        small=True,
    )
    save_restart(
        RECORDINGS / "hot-restart.mp4",
        "Film of the fuel pressure gauge after a hot restart, one minute.",
        title="Hot restart",
    )


if __name__ == "__main__":
    main()
