"""Tests: unit, model (real weights) and browser (real Chromium)."""
