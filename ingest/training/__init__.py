"""Tunes the sentence encoder to the questions in data/. Not imported by the running bot."""
