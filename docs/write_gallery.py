"""Writes docs/scenarios/, docs/gallery/ and the contact sheet from records and figures; `make figures` runs it.

python docs/write_gallery.py [RECORDS [FIGURES]]
"""

import json
import re
import sys
from pathlib import Path

import xarray
from PIL import Image, ImageDraw
from write_verification import claim_row

from gfsim.workbench.discovery import Listing, listing_of

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
WIDTH, LARGEST = 1200, 300_000
HEAD = "| claim | source | predicted | measured | tolerance | holds |\n|---|---|---|---|---|---|"


def with_colours(image: Image.Image, count: int) -> Image.Image:
    """The image in `count` colours: far apart first, so that rare ones survive, then moved to what each stands for."""
    return image.quantize(count, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)


def small(figure: Path, path: Path) -> None:
    """The figure at 1,200 pixels, with as few colours as bring it below 300 kB."""
    image = Image.open(figure).convert("RGB")
    image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    for colours in (256, 128, 64, 32):
        with_colours(image, colours).save(path, optimize=True)
        if path.stat().st_size <= LARGEST:
            return


def page(listing: Listing, record: xarray.Dataset) -> str:
    """What the scenario's docstring says, its figure, and what its claims came to."""
    claims = json.loads(record.attrs["claims"])
    summary, *rest = listing.docstring.strip().split("\n\n")
    holding = sum(claim["holds"] for claim in claims)
    rows = "\n".join(claim_row(claim) for claim in claims)
    # Source and run time stand on lines of their own.
    body = re.sub(r"(?<!\n)\n(?=Source:|Run time:)", "  \n", "\n\n".join(rest))
    return f"""# {listing.name}

<!-- Written by docs/write_gallery.py from the scenario's docstring and its record. -->

**{summary}**

{body}

```
gfsim run {listing.name}
```

![{summary}](../gallery/{listing.name}.png)

## Claims

{holding} of {len(claims)} hold at the default size.

{HEAD}
{rows}
"""


def contact_sheet(figures: list[Path]) -> None:
    """All figures, three in a row, each with its name."""
    columns, width, height, label = 3, 400, 330, 20
    rows = -(-len(figures) // columns)
    sheet = Image.new("RGB", (columns * width, rows * (height + label)), "white")
    pen = ImageDraw.Draw(sheet)
    for i, figure in enumerate(figures):
        image = Image.open(figure).convert("RGB")
        image.thumbnail((width - 10, height))
        left, top = i % columns * width, i // columns * (height + label)
        pen.text((left + 5, top + 4), figure.stem, "black")
        sheet.paste(image, (left + 5, top + label))
    with_colours(sheet, 128).save(DOCS / "gallery" / "contact-sheet.png", optimize=True)


def main() -> int:
    records, figures = (Path(argument) for argument in (sys.argv[1:] + ["records", "figures/out"][len(sys.argv) - 1 :]))
    (DOCS / "scenarios").mkdir(exist_ok=True)
    (DOCS / "gallery").mkdir(exist_ok=True)
    entries, drawn = [], []
    for file in sorted((ROOT / "scenarios").glob("*.py")):
        listing = listing_of(file)
        if not (records / f"{listing.name}.nc").is_file():
            print(f"left out, for want of a record: {listing.name}")
            continue
        record = xarray.load_dataset(records / f"{listing.name}.nc")
        (DOCS / "scenarios" / f"{listing.name}.md").write_text(page(listing, record), encoding="utf-8")
        drawn.append(DOCS / "gallery" / f"{listing.name}.png")
        small(figures / f"{listing.name}.png", drawn[-1])
        entries.append(f"## [{listing.name}](scenarios/{listing.name}.md)\n\n{listing.claim}\n")
        entries.append(f"![{listing.claim}](gallery/{listing.name}.png)\n")
    contact_sheet(drawn)
    head = (
        "# Gallery\n\n<!-- Written by docs/write_gallery.py. -->\n\nEvery figure is drawn from the record of a run at"
    )
    sheet = "![contact sheet of all figures](gallery/contact-sheet.png)\n"
    text = "\n".join((f"{head} default size (`make figures`).\n", sheet, *entries))
    (DOCS / "gallery.md").write_text(text, encoding="utf-8")
    print(f"written: docs/gallery.md and {len(drawn)} pages of scenarios")
    return 0


if __name__ == "__main__":
    sys.exit(main())
