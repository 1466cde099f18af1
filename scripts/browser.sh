#!/bin/sh
# The browser the dashboard's tests need: Debian's Chromium. Says what it does, installs it where it may, or fails loudly.
set -eu
if command -v chromium >/dev/null 2>&1; then
    exit 0
fi
install="apt-get install -y --no-install-recommends chromium"
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing Chromium for the dashboard's browser tests (once): $install"
    { apt-get update -qq && $install -qq; } >/dev/null || {
        echo "Chromium could not be installed; the dashboard's browser tests need it." >&2
        exit 1
    }
    exit 0
fi
echo "The dashboard's browser tests need Chromium, and it is not here. Install it, then run this again: sudo $install" >&2
exit 1
