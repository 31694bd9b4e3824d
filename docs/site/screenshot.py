"""docs/images/verdicts.png, the top of a report's page: `python docs/site/screenshot.py runs/demo`, after make demo.

Needs chromium and chromedriver (Debian: chromium, chromium-driver).
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

PICTURE = Path(__file__).parents[1] / "images" / "verdicts.png"
SIZE_PX = (1100, 900)


def main() -> None:
    """Draw the section of verdicts of a page, in few colours, so that the file is small."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path, help="folder of a sweep with a report")
    page = parser.parse_args().sweep / "report" / "index.html"
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        browser.set_window_size(*SIZE_PX)
        browser.get(page.resolve().as_uri())
        browser.execute_script("document.querySelector('#verdicts').scrollIntoView()")
        shown = Image.open(io.BytesIO(browser.get_screenshot_as_png()))
    finally:
        browser.quit()
    shown.convert("RGB").quantize(48).save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
