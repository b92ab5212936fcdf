"""A real browser without a window: Chromium and its driver, as Debian packages them."""

import contextlib
import shutil
import threading
import time

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
_QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)
# Seconds that a page may take on a machine that is busy with something else.
_PATIENCE = 60


class Browser:
    """Chromium, and what our tests ask of it."""

    def __init__(self, patience=_PATIENCE):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for each in _QUIET:
            options.add_argument(each)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self._patience = patience
        self.driver.set_page_load_timeout(patience)
        self.driver.set_script_timeout(patience)
        self.look()

    def look(self, width=1280, height=900, dark=False):
        """As on a screen of that size; the page is drawn anew."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, address):
        """Open a page and wait until its figures are drawn; fails when one cannot be, or the console has an error."""
        self.driver.get(address)
        self.drawn()

    def drawn(self):
        """Wait until all figures are drawn."""
        self.until("return [...document.querySelectorAll('figure[data-figure]')].every((each) => each.dataset.drawn)")
        found = self.errors()
        assert found == [], found

    def errors(self):
        """What the console says of errors since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def until(self, script):
        """Wait until a script returns what is true, and return that."""
        end = time.monotonic() + self._patience
        while not (found := self.js(script)):
            assert time.monotonic() < end, f"{script} has not become true; the page says: {self.text()[:2000]}"
            time.sleep(0.05)
        return found

    def js(self, script, *given):
        return self.driver.execute_script(script, *given)

    def text(self, selector="body"):
        return self.js("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def click(self, selector):
        self.js("document.querySelector(arguments[0]).click()", selector)

    def offline(self):
        """From now on no network."""
        self.driver.execute_cdp_cmd("Network.enable", {})
        limits = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        self.driver.execute_cdp_cmd("Network.emulateNetworkConditions", limits)

    def picture(self, file, whole=True):
        """Save what is seen as a PNG; `whole`: the page to its end."""
        if whole:
            height = self.js("return document.documentElement.scrollHeight")
            width = self.js("return document.documentElement.clientWidth")
            self.driver.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
            )
        self.driver.save_screenshot(str(file))


@contextlib.contextmanager
def opened(patience=_PATIENCE):
    """A browser; the test is skipped where there is none."""
    pytest.importorskip("selenium")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("Chromium and chromedriver are not installed: `apt-get install chromium chromium-driver`")
    browser = Browser(patience)
    try:
        yield browser
    finally:
        browser.driver.quit()


@contextlib.contextmanager
def served(app):
    """The address at which a WSGI application is served, on a port that is free."""
    import waitress.server

    server = waitress.server.create_server(app, host="127.0.0.1", port=0, threads=8)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.effective_port}"
    finally:
        server.close()
        thread.join(timeout=10)
